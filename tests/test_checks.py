"""Each combination passes its own checks and those of others, exactly as it comes out."""

import json
import re
import shutil
import sys

import pytest
import yaml
from conftest import ENVIRONMENT, each_combination, run

NGINX_VARIABLES = {
    "MAX_CONTENT_LENGTH": "1048576",
    "RATE_BURST": "100",
    "RATE_LIMIT": "50r/s",
    "TRUSTED_HOSTS": "localhost",
}
needs_compose = pytest.mark.skipif(
    not shutil.which("docker", path=ENVIRONMENT["PATH"]), reason="needs Docker Compose"
)


@each_combination()
def test_own_checks_pass(project):
    done = run("make", "check", cwd=project)

    assert re.search(r"\d+ passed", done.stdout)


@each_combination()
def test_server_accepts_its_configuration(project):
    run("uv", "run", "gunicorn", "--check-config", "--config=python:config.gunicorn", cwd=project)


@each_combination()
def test_dockerfile_has_no_findings(project):
    run("hadolint", "Dockerfile", cwd=project)


@each_combination()
def test_workflow_has_no_findings(project):
    run("zizmor", "--offline", "--persona=pedantic", "--quiet", ".github", cwd=project)


@each_combination()
def test_files_fit_their_schemas(project):
    for schema, *files in (
        ("compose-spec", "compose.yaml", "compose.override.yaml"),
        ("github-workflows", ".github/workflows/ci.yml"),
        ("dependabot", ".github/dependabot.yml"),
    ):
        run("check-jsonschema", f"--builtin-schema=vendor.{schema}", *files, cwd=project)


@needs_compose
@each_combination()
def test_one_number_sets_how_long_requests_in_progress_may_take(project):
    config = ["docker", "compose", "-f", "compose.yaml", "config", "--format=json"]
    services = json.loads(run(*config, cwd=project, GRACEFUL_TIMEOUT="7").stdout)["services"]

    drained = {name: services[name] for name in ("web", "nginx") if name in services}
    assert services["web"]["environment"]["GRACEFUL_TIMEOUT"] == "7"
    assert {service["stop_grace_period"] for service in drained.values()} == {"12s"}


@needs_compose
@each_combination()
def test_compose_accepts_both_shapes(project):
    run("docker", "compose", "config", "--quiet", cwd=project)
    run("docker", "compose", "-f", "compose.yaml", "config", "--quiet", cwd=project)


@needs_compose
@each_combination()
def test_compose_has_exactly_the_services_that_were_chosen(project, request):
    chosen = request.node.callspec.params["project"]

    config = run("docker", "compose", "-f", "compose.yaml", "config", "--format=json", cwd=project)

    assert set(json.loads(config.stdout)["services"]) == {
        "web",
        *(["postgres", "migrate"] if chosen["use_postgres"] else []),
        *(["redis"] if chosen["use_redis"] else []),
        *(["nginx"] if chosen["use_nginx"] else []),
    }


@each_combination("use_nginx")
def test_nginx_configuration_has_no_findings(project, tmp_path):
    template = (project / "nginx/nginx.conf.template").read_text()
    text = re.sub(r"\$\{([A-Z_]+)\}", lambda m: NGINX_VARIABLES[m[1]], template)
    (tmp_path / "nginx.conf").write_text(text)

    done = run("gixy", "--format=json", "nginx.conf", cwd=tmp_path)

    assert done.stdout.rstrip().endswith("[]")


@each_combination()
def test_ci_runs_what_check_runs(project):
    workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text())

    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make check"]


@each_combination()
def test_help_lists_the_targets(project, request):
    chosen = request.node.callspec.params["project"]
    targets = "up down logs run test lint format check env lock build shell".split()
    targets += "migrate revision psql seed".split() if chosen["use_postgres"] else []

    listed = re.findall(r"^  ([a-z-]+) ", run("make", "help", cwd=project).stdout, re.MULTILINE)

    assert set(targets) <= set(listed)


@pytest.mark.xdist_group("bare")
def test_targets_work_on_a_machine_with_python_and_make_only(bake, monkeypatch, tmp_path):
    for name in ("python3", "make", "sed", "awk", "sh", "git"):
        target = sys._base_executable if name == "python3" else shutil.which(name)
        (tmp_path / name).symlink_to(target)
    monkeypatch.setenv("PATH", str(tmp_path))
    project = bake(use_postgres=False, use_redis=False, use_nginx=False)
    assert not (project / "uv.lock").exists()

    run("make", "uv.lock", "test", cwd=project, PATH=str(tmp_path))

    assert (project / "uv.lock").exists()
    assert (project / ".tools/bin/uv").exists()
