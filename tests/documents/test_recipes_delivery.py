"""The recipes for GitLab CI, for deployments from CI over SSH, and for a development container."""

import getpass
import json
import os
import re
import shutil
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml
from figures import report
from projects import (
    FULL,
    check_workflows,
    run,
    running,
)
from recipes import follow_recipe, recipe
from stacks import temporary_stack, unique_name, wait_for

pytestmark = pytest.mark.xdist_group("delivery")
SSH_PORT, REGISTRY = 18897, 18898
GIT = "git -c user.name=A -c user.email=a@example.com".split()


def in_docker(test):
    """Mark a test that needs a Docker engine, and runs only in `make test-faults`."""
    return pytest.mark.docker(pytest.mark.weekly(test))


@pytest.fixture(scope="module")
def gitlab(cookies_session):
    """Follow the recipe for GitLab, and return the project."""
    answers = FULL | {"use_worker": True, "project_slug": "shop"}
    project = cookies_session.bake(extra_context=answers).project_path
    follow_recipe(project, "gitlab")
    return project


def jobs(project):
    """Return the jobs of the pipeline, each with what it extends."""
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text())
    found = {name: job for name, job in pipeline.items() if "script" in job}
    return {name: pipeline.get(job.get("extends"), {}) | job for name, job in found.items()}


def test_gitlab_pipeline_is_valid_and_has_the_versions_of_the_project(gitlab):
    run("check-jsonschema", "--builtin-schema=vendor.gitlab-ci", ".gitlab-ci.yml", cwd=gitlab)
    services = yaml.safe_load((gitlab / "compose.yaml").read_text())["services"]
    dockerfile = (gitlab / "Dockerfile").read_text()

    found = jobs(gitlab)
    assert found.keys() == {"check", "servers", "audit", "push"}
    assert f"FROM {found['check']['image']} AS base" in dockerfile
    used = {service["name"] for service in found["servers"]["services"]}
    assert used == {services[name]["image"] for name in ("postgres", "redis")}
    assert not (gitlab / ".github").exists()


@contextmanager
def network(project, *services):
    """Start the services of a job in a network, as a runner does."""
    name = unique_name("gitlab")
    run("docker", "network", "create", name, cwd=project)
    try:
        for service in services:
            variables = service.get("variables", {}).items()
            settings = [f"--env={variable}={value}" for variable, value in variables]
            alias = f"--network-alias={service['alias']}"
            started = ["docker", "run", "--detach", "--rm", f"--network={name}", alias]
            container = f"--name={name}-{service['alias']}"
            run(*started, container, *settings, service["name"], cwd=project)
        yield name
    finally:
        for service in services:
            command = ["docker", "rm", "--force", "--volumes", f"{name}-{service['alias']}"]
            run(*command, cwd=project, check=False)
        run("docker", "network", "rm", name, cwd=project, check=False)


def run_job(project, job, tmp_path):
    """Run the commands of a job in its image, on a copy of the project, as root."""
    copy = shutil.copytree(
        project, tmp_path / "shop", ignore=shutil.ignore_patterns(".venv", ".env")
    )
    script = "\n".join([*job.get("before_script", []), *job["script"]])
    with network(project, *job.get("services", [])) as name:
        command = ["docker", "run", "--rm", f"--network={name}", "--workdir=/builds/shop"]
        variables = job.get("variables", {}).items()
        settings = [f"--env={variable}={value}" for variable, value in variables]
        mount = f"--volume={copy}:/builds/shop"
        done = run(
            *command, *settings, mount, job["image"], "sh", "-euc", script, cwd=project, timeout=900
        )
    return done.stdout


@in_docker
@pytest.mark.parametrize("name", ["check", "servers"])
def test_gitlab_job_succeeds_in_its_image(engine, gitlab, name, tmp_path):
    printed = run_job(gitlab, jobs(gitlab)[name], tmp_path)

    assert re.search(r"^=+ \d+ passed", printed, re.M)


@in_docker
def test_gitlab_job_pushes_the_image(engine, gitlab):
    host = f"127.0.0.1:{REGISTRY + int(os.environ.get('TRIAL_PORTS', '0'))}"
    registry = unique_name("gitlab-registry")
    variables = {
        "CI_COMMIT_TAG": "v1.2.0",
        "CI_REGISTRY": host,
        "CI_REGISTRY_IMAGE": f"{host}/shop",
        "CI_REGISTRY_USER": "user",
        "CI_REGISTRY_PASSWORD": "password",
        "DOCKER_CONFIG": str(gitlab / ".docker"),  # where docker login stores the password
    }
    plugins = Path.home() / ".docker/cli-plugins"
    (gitlab / ".docker").mkdir()
    if plugins.exists():
        (gitlab / ".docker/cli-plugins").symlink_to(plugins)
    started = ["docker", "run", "--detach", "--rm", f"--name={registry}", f"--publish={host}:5000"]
    run(*started, "registry:3", cwd=gitlab)
    try:
        wait_for(lambda: requests.get(f"http://{host}/v2/").ok, 30)
        script = "\n".join(jobs(gitlab)["push"]["script"])
        script = script.replace("docker build --pull", "docker build")  # the images are local
        run("sh", "-euc", script, cwd=gitlab, **variables)
        tags = requests.get(f"http://{host}/v2/shop/tags/list").json()
    finally:
        run("docker", "rm", "--force", "--volumes", registry, cwd=gitlab, check=False)

    assert tags == {"name": "shop", "tags": ["v1.2.0"]}


@dataclass
class Server:
    """A server with a checkout, an SSH server, and the job of CI."""

    project: Path
    folder: Path
    port: int
    script: str = ""
    known_hosts: str = ""

    @property
    def address(self):
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def job(self, commit, **changed):
        """Run the script of the job for a commit."""
        variables = {
            "DEPLOY_KEY": (self.folder / ".ssh/ci").read_text(),
            "DEPLOY_KNOWN_HOSTS": self.known_hosts,
            "DEPLOY_TO": self.address,
            "GITHUB_SHA": commit,
            "RUNNER_TEMP": str(self.folder / "runner"),
        }
        return run("bash", "-ec", self.script, cwd=self.folder, check=False, **variables | changed)

    def ssh(self, *arguments):
        """Use the key of CI for something else."""
        hosts = self.folder / "known_hosts"
        hosts.write_text(self.known_hosts)
        options = ["-i", self.folder / ".ssh/ci", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        options += ["-o", f"UserKnownHostsFile={hosts}", "-o", "ExitOnForwardFailure=yes"]
        return run("ssh", *options, *arguments, cwd=self.folder, check=False, timeout=60)

    def commit(self, file, text, branch="main"):
        """Push a commit that replaces a file, and return its ID."""
        clone = self.folder / "clone"
        if not clone.exists():
            run("git", "clone", "--quiet", self.folder / "origin.git", clone, cwd=self.folder)
        run("git", "checkout", "--quiet", "-B", branch, "origin/main", cwd=clone)
        (clone / file).write_text(text)
        run(*GIT, "commit", "--quiet", "--all", "--message=change", cwd=clone)
        run("git", "push", "--quiet", "origin", branch, cwd=clone)
        run("git", "fetch", "--quiet", cwd=clone)
        return run("git", "rev-parse", "HEAD", cwd=clone).stdout.strip()

    def deployed(self):
        """Return the commit that is checked out on the server."""
        return run("git", "rev-parse", "HEAD", cwd=self.project).stdout.strip()


SSHD = """
    ListenAddress 127.0.0.1
    Port {port}
    HostKey {folder}/host_key
    AuthorizedKeysFile {folder}/.ssh/authorized_keys
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    UsePAM no
    StrictModes no
    PidFile none
    SetEnv PATH={path}
    Subsystem sftp internal-sftp
"""


@pytest.fixture(scope="module")
def server(cookies_session, tmp_path_factory):
    """Follow the recipe on a server: its user has another home directory here."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip("sshd is missing: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("server")
    port = SSH_PORT + int(os.environ.get("TRIAL_PORTS", "0"))
    with temporary_stack(cookies_session, FULL, "ssh", 18899, slug="shop") as stack:
        project = stack.project
        run("git", "init", "--quiet", "--initial-branch=main", cwd=project)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "host_key", cwd=folder)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        config = SSHD.format(port=port, folder=folder, path=os.environ["PATH"])
        (folder / "sshd_config").write_text(config)
        (folder / "runner").mkdir()
        words = {
            "/srv/shop": str(project),
            "ed25519 shop.example.com": f"ed25519 -p {port} 127.0.0.1",
        }
        sshd = [program, "-D", "-e", "-f", folder / "sshd_config"]
        (folder / "sshd").mkdir()
        with (
            running(sshd, folder / "sshd"),
            recipe("ssh", project, words, HOME=str(folder)) as reading,
        ):
            wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, 30)
            reading.follow()
            reading.follow("The program")
            server = Server(project, folder, port)
            server.known_hosts = reading.follow("On the server")
            reading.follow("On GitHub")
            reading.follow("On GitLab")
            workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text())
            [server.script] = [step["run"] for step in workflow["jobs"]["deploy"]["steps"]]
            run("git", "add", "--all", cwd=project)
            run(*GIT, "commit", "--quiet", "--message=first", cwd=project)
            run("git", "clone", "--quiet", "--bare", ".", folder / "origin.git", cwd=project)
            run("git", "remote", "add", "origin", folder / "origin.git", cwd=project)
            server.stack = stack
            yield server


def test_key_of_ci_can_do_nothing_else(server):
    before = server.deployed()
    head = server.deployed()
    refused = {
        "a shell": server.ssh(server.address),
        "a terminal": server.ssh("-tt", server.address),
        "a command": server.ssh(server.address, "id"),
        "a command after a commit": server.ssh(server.address, f"{head}; id"),
        "a connection": server.ssh("-W", f"127.0.0.1:{server.port}", server.address),
        "a forwarded port": server.ssh("-N", "-R", "0:127.0.0.1:1", server.address),
    }
    copied = server.ssh("-s", server.address, "sftp")

    assert {what: done.returncode for what, done in refused.items() if done.returncode == 0} == {}
    assert copied.returncode != 0
    printed = "".join(done.stdout for done in refused.values())
    assert "uid=" not in printed
    assert printed.count("Name a commit with 40 hexadecimal digits") == 3
    assert "open failed: administratively prohibited" in printed
    assert "PTY allocation request failed" in printed
    assert "remote port forwarding failed" in printed
    assert server.deployed() == before


def test_only_newer_commits_of_main_are_deployed(server):
    other = server.commit("README.md", "Not reviewed.", branch="feature")
    before = server.deployed()

    for commit, reason in [("0" * 40, "not in the branch main"), (other, "not in the branch main")]:
        failed = server.job(commit)
        assert failed.returncode == 1
        assert reason in failed.stdout
    assert server.deployed() == before


def test_another_server_does_not_get_the_commit(server):
    key = (server.folder / ".ssh/ci.pub").read_text()  # not that of the host
    hosts = server.known_hosts.splitlines()[-1].split()[0]
    failed = server.job("0" * 40, DEPLOY_KNOWN_HOSTS=f"{hosts} {key}")

    assert failed.returncode == 255
    assert "Host key verification failed" in failed.stdout


def test_workflow_with_the_deployment_is_valid(server):
    check_workflows(server.project)


@in_docker
def test_commit_is_deployed_and_a_failure_fails_the_job(engine, server):
    stack = server.stack
    run("make", "deploy", cwd=server.project)
    first = server.deployed()
    home = (server.project / "shop/templates/home.html").read_text()
    second = server.commit("shop/templates/home.html", home.replace("</h1>", "</h1><p>Second</p>"))
    begun = time.monotonic()
    done = server.job(second)
    report(f"deployed over SSH in {time.monotonic() - begun:.0f} s")
    assert done.returncode == 0, done.stdout
    assert "<p>Second</p>" in stack.get("/").text

    gunicorn = (server.project / "config/gunicorn.py").read_text()
    third = server.commit("config/gunicorn.py", gunicorn.replace("import gc", "import missing"))
    failed, older = server.job(third), server.job(first)
    report(f"a broken version: {failed.stdout[-200:]!r}")
    assert failed.returncode not in (0, 255)
    assert "No module named 'missing'" in failed.stdout
    assert "<p>Second</p>" in stack.get("/").text
    assert older.returncode == 1
    assert "A later version is deployed" in older.stdout
    repaired = server.commit("config/gunicorn.py", gunicorn)
    assert server.job(repaired).returncode == 0


@pytest.fixture(scope="module")
def devcontainer(cookies_session):
    """Follow the recipe for a development container, and return the project."""
    answers = FULL | {"project_slug": "shop"}
    project = cookies_session.bake(extra_context=answers).project_path
    with recipe("devcontainer", project, {"make run": "true"}) as reading:
        reading.follow()
    return project


def test_development_container_has_the_versions_of_the_project(devcontainer):
    own, production = (
        (devcontainer / file).read_text() for file in (".devcontainer/Dockerfile", "Dockerfile")
    )
    images = re.findall(r"^FROM (\S+)", own, re.M)

    assert len(images) == 2
    assert {*images} <= {*re.findall(r"^FROM (\S+)", production, re.M)}
    run(
        "hadolint",
        "--ignore=DL3008",
        "--ignore=DL3066",
        ".devcontainer/Dockerfile",
        cwd=devcontainer,
    )
    check_workflows(devcontainer)


@in_docker
def test_development_container_starts_and_runs_the_checks(engine, devcontainer, tmp_path):
    name = unique_name("devcontainer")
    if os.geteuid() == 0:  # the project belongs to a person, whose ID the user of the container has
        run("chown", "--recursive", "1000:1000", devcontainer, cwd=devcontainer)
    cli = "npx --yes @devcontainers/cli@0.89.0".split()
    where = ["--workspace-folder", devcontainer, "--id-label", f"test={name}"]
    try:
        begun = time.monotonic()
        printed = run(*cli, "up", *where, cwd=devcontainer, timeout=900).stdout
        report(f"development container: {time.monotonic() - begun:.0f} s")
        outcome = json.loads(printed.strip().splitlines()[-1])
        checked = run(*cli, "exec", *where, "make", "check", cwd=devcontainer, timeout=900).stdout
        get = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/livez').read())"
        serve = f'(make run > /tmp/log 2>&1 &) && sleep 20 && python3 -c "{get}"'
        served = run(*cli, "exec", *where, "sh", "-c", serve, cwd=devcontainer).stdout
    finally:
        find = f"docker ps --all --quiet --filter label=test={name} | xargs -r docker rm --force"
        run("sh", "-c", find, cwd=devcontainer)

    assert (outcome["outcome"], outcome["remoteUser"]) == ("success", "dev")
    assert re.search(r"^=+ \d+ passed", checked, re.M)
    assert '"status":"ok"' in served.replace(" ", "")
