"""Each combination passes its own checks and those of other tools, as generated."""

import ast
import json
import re
import shlex
import shutil
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest
import yaml
from figures import report
from projects import (
    ENVIRONMENT,
    ROWS,
    WHOLE,
    check_workflows,
    each_combination,
    has_assets,
    parameters,
    run,
)
from stacks import unique_name, wait_for

NGINX_VARIABLES = {
    "GRACEFUL_TIMEOUT": "30",
    "MAX_CONTENT_LENGTH": "1048576",
    "RATE_BURST": "100",
    "RATE_LIMIT": "50r/s",
    "STATIC_HOST": "https://cdn.example.com",
    "TRUSTED_NETWORK": "10.0.0.0/8",
}
needs_compose = pytest.mark.skipif(
    not shutil.which("docker", path=ENVIRONMENT["PATH"]), reason="needs Docker Compose"
)


def interpreters():
    """Return the installed Python versions that a project supports, on the path or from pyenv."""
    for version in ("3.11", "3.12", "3.13", "3.14"):
        installed = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python"))
        if python := next(map(str, installed), shutil.which(f"python{version}")):
            yield version, python


# Each takes up to two minutes: those with the most options, and with the fewest.
FEWEST = min(ROWS, key=lambda row: list(row.values()).count(True))
CHECKED = parameters(ROWS if WHOLE else [ROWS[0], FEWEST])


@pytest.mark.faults
@pytest.mark.parametrize("project", CHECKED, indirect=True)
def test_own_checks_pass(project, chosen):
    """Each combination uses another installed Python; `make test-stack` uses that of the image."""
    version, python = list(interpreters())[ROWS.index(chosen) % len(list(interpreters()))]

    done = run("make", "check", cwd=project, UV_PYTHON=python)

    assert f"python {version}." in done.stdout
    assert re.search(r"\d+ passed", done.stdout)


def imports(source, package):
    """Yield the full name of each module that a module of ``package`` imports from."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(level=0, module=module):
                yield module
            case ast.ImportFrom(level=level, module=module):
                yield resolve_name("." * level + (module or ""), package)


def outside(source, own):
    """Return what a module of ``core/`` imports from ``own`` modules, but not from its folder."""
    allowed = ("my_service.core.", "config.")
    return [
        name
        for name in imports(source, "my_service.core")
        if name.partition(".")[0] in own and not f"{name}.".startswith(allowed)
    ]


@each_combination()
def test_core_imports_nothing_from_outside_of_itself_but_config(fresh):
    own = {path.stem for path in fresh.iterdir()}
    files = sorted((fresh / "my_service/core").rglob("*.py"))

    assert len(files) >= 7
    assert {"my_service", "config", "tests"} <= own
    found = {file.name: outside(file.read_text(), own) for file in files}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from .. import models",
        "from ..notes import NoteSchema",
        "from my_service.tasks import example",
        "import my_service.models",
        "from my_service import home",
        "def f():\n    from ..models import Note",
        "from tests import conftest",
    ],
)
def test_import_from_outside_of_core_is_found(source):
    assert len(outside(source, {"my_service", "config", "tests"})) == 1


def test_core_may_import_itself_config_and_libraries():
    source = "import json\nfrom . import health\nfrom .errors import problem\nfrom config import settings\n"

    assert outside(source, {"my_service", "config", "tests"}) == []


@each_combination()
def test_linters_have_no_findings(project, chosen):
    run("hadolint", "Dockerfile", cwd=project)
    check_workflows(project)
    programs = [*project.glob("bin/*"), *project.glob("nginx/*"), *project.glob("caddy/*")]
    scripts = [file for file in programs if file.read_text().startswith("#!/bin/sh")]
    assert scripts or not (chosen["use_nginx"] or chosen["use_tls"] or chosen["use_kubernetes"])
    for script in scripts:
        run("shellcheck", script, cwd=project)


@needs_compose
@each_combination()
def test_graceful_timeout_sets_how_long_services_wait(project, chosen):
    config = ["docker", "compose", "-f", "compose.yaml", "config", "--format=json"]
    services = json.loads(run(*config, cwd=project, GRACEFUL_TIMEOUT="7").stdout)["services"]

    assert services["web"]["environment"]["GRACEFUL_TIMEOUT"] == "7"
    assert services["web"]["stop_grace_period"] == "12s"
    if chosen["use_nginx"]:
        assert services["nginx-config"]["environment"]["GRACEFUL_TIMEOUT"] == "7"
        assert "environment" not in services["nginx"]  # a setting does not replace the container


@needs_compose
@each_combination()
def test_compose_files_have_exactly_the_chosen_services(project, chosen):
    services = {
        "web",
        *(["postgres", "migrate"] if chosen["use_postgres"] else []),
        *(["redis"] if chosen["use_redis"] else []),
        *(["nginx", "nginx-config"] if chosen["use_nginx"] else []),
        *(["worker", "beat", "queue"] if chosen["use_worker"] else []),
    }
    development = {"assets"} if has_assets(chosen) else set()
    production = {"caddy"} if chosen["use_tls"] else set()

    for files, further in (([], development), (["--file=compose.yaml"], production)):
        config = run("docker", "compose", *files, "config", "--services", cwd=project)
        assert set(config.stdout.split()) == services | further


@each_combination("use_nginx")
def test_nginx_configuration_has_no_findings(project, tmp_path):
    for file in (project / "nginx").glob("*.conf*"):
        text = re.sub(r"\$\{([A-Z_]+)\}", lambda m: NGINX_VARIABLES[m[1]], file.read_text())
        text = re.sub(r"include \S+/", f"include {tmp_path}/", text)
        (tmp_path / file.name.removesuffix(".template")).write_text(text)
    (tmp_path / "mime.types").touch()
    (tmp_path / "servers.conf").write_text("server web:8000 resolve;")

    # TRUSTED_NETWORK may be all addresses, and nginx warns about a second default
    options = ("--format=json", "--skips=hash_without_default")
    done = run("gixy", *options, "nginx.conf", cwd=tmp_path)

    assert done.stdout.rstrip() == "[]"


def jobs_of(project):
    """Return the jobs of the workflow, by name."""
    return yaml.safe_load((project / ".github/workflows/ci.yml").read_text())["jobs"]


@each_combination()
def test_ci_runs_make_check(project, chosen):
    servers = {"postgres"} if chosen["use_postgres"] else set()
    servers |= {"redis"} if chosen["use_redis"] or chosen["use_worker"] else set()
    compose = yaml.safe_load((project / "compose.yaml").read_text())["services"]

    jobs = jobs_of(project)

    assert set(jobs) == ({"check", "servers"} if servers else {"check"})
    for job in jobs.values():
        assert [step["run"] for step in job["steps"] if "run" in step] == ["make check"]
    services = jobs["servers"]["services"] if servers else {}
    assert set(services) == servers
    for name, service in services.items():
        assert service["image"] == compose[name if name in compose else "queue"]["image"]


@pytest.fixture
def servers(engine, bake):
    """Start the services of the workflow as GitHub does; return the project and its environment."""
    project = bake(project_slug="shop")
    job = jobs_of(project)["servers"]
    environment, containers = dict(job["env"]), {}
    try:
        for service, options in job["services"].items():
            inside = options["ports"][0].rpartition(":")[2]
            given = [f"--env={name}={value}" for name, value in options.get("env", {}).items()]
            given += [f"--publish=127.0.0.1::{inside}", *shlex.split(options["options"])]
            name = unique_name(f"ci-{service}")
            start = ["docker", "run", "--detach", f"--name={name}", *given, options["image"]]
            containers[service] = run(*start, cwd=project).stdout.split()[-1]
            port = run("docker", "port", containers[service], inside, cwd=project).stdout
            for name, value in environment.items():
                environment[name] = value.replace(f"localhost:{inside}", port.strip())
        health = ["docker", "inspect", "--format={{.State.Health.Status}}"]
        for one in containers.values():
            wait_for(lambda one=one: run(*health, one, cwd=project).stdout == "healthy\n", 60)
        yield project, environment, containers
    finally:
        run("docker", "rm", "--force", "--volumes", *containers.values(), cwd=project)


@pytest.mark.weekly
@pytest.mark.docker
@pytest.mark.xdist_group("docker-untimed")
def test_tests_pass_with_the_services_of_ci(servers):
    """CI checks style and types too, but they do not depend on the services."""
    project, environment, containers = servers
    count = "SELECT sum(tup_inserted) FROM pg_stat_database"
    psql = ["psql", "--username=postgres", "--tuples-only", "--no-align", "-c", count]
    rows = ["docker", "exec", containers["postgres"], *psql]
    before = int(run(*rows, cwd=project).stdout)

    printed = run("make", "test", cwd=project, **environment).stdout

    report(f"tests with PostgreSQL and Redis: {printed.splitlines()[-1].strip('= ')}")
    assert re.search(r"\d+ passed in", printed)  # and none skipped
    assert int(run(*rows, cwd=project).stdout) > before + 100
    used = ["redis-cli", "info", "commandstats"]
    stats = run("docker", "exec", containers["redis"], *used, cwd=project).stdout
    assert "cmdstat_set:" in stats


@each_combination()
def test_help_lists_the_targets(project, chosen):
    targets = "up down logs run test lint format check env lock build deploy shell".split()
    if chosen["use_postgres"]:
        targets += "migrate revision psql seed backup drill restore".split()

    listed = re.findall(r"^  ([a-z-]+) ", run("make", "help", cwd=project).stdout, re.MULTILINE)

    assert set(targets) <= set(listed)


@pytest.mark.xdist_group("bare")
def test_targets_need_only_python_and_make(bake, monkeypatch, tmp_path):
    for name in "python3 make sed awk sh git dirname realpath touch".split():
        target = sys._base_executable if name == "python3" else shutil.which(name)
        (tmp_path / name).symlink_to(target)
    monkeypatch.setenv("PATH", str(tmp_path))
    project = bake(use_postgres=False, use_redis=False, use_nginx=False, frontend="htmx")
    assert not (project / "uv.lock").exists()

    run("make", "uv.lock", "test", "assets", cwd=project, PATH=str(tmp_path))

    assert (project / "uv.lock").exists()
    assert (project / ".tools/bin/uv").exists()
    assert (project / "my_service/static/built/app.js").exists()  # by a Node.js from PyPI
