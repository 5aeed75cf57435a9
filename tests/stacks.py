"""The stacks that container tests share."""

import http.client
import json
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import COMBINATIONS, ENVIRONMENT, name_of, run


@dataclass
class Stack:
    """A running stack."""

    project: Path
    options: dict
    port: int

    @property
    def name(self):
        """What its images, volumes and networks begin with."""
        return apart(self.project.name)

    def needs(self, option):
        """Skip what is about an option that this stack does without."""
        if not self.options[option]:
            pytest.skip(f"{option} is declined")

    def compose(self, *arguments, check=True):
        return run(
            "docker", "compose", "-f", "compose.yaml", *arguments, cwd=self.project, check=check
        )

    def get(self, path, method="GET", body=None, host=None, timeout=10, **headers):
        """The response to a request to the published port, with a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        if host:
            headers["Host"] = host
        connection.request(method, path, body=body, headers=headers | {"Connection": "close"})
        response = connection.getresponse()
        response.text = response.read().decode()
        return response

    def containers(self):
        """What `docker inspect` shows of each container, by service."""
        ids = self.compose("ps", "--all", "--quiet").stdout.split()
        found = json.loads(run("docker", "inspect", *ids, cwd=self.project).stdout)
        return {c["Config"]["Labels"]["com.docker.compose.service"]: c for c in found}

    def inside(self, service, *command, check=True):
        """What ``command`` prints in the container of ``service``."""
        return self.compose("exec", "-T", service, *command, check=check).stdout

    def memory(self, service):
        """The bytes that the processes of a container have for themselves."""
        text = self.inside(service, "sh", "-c", "cat /proc/[0-9]*/smaps_rollup", check=False)
        return sum(int(size) << 10 for size in re.findall(r"^Pss_Anon: +(\d+) kB", text, re.M))

    def sql(self, query):
        """The rows of a query that the superuser of the database runs."""
        psql = ["psql", "--username=postgres", "--tuples-only", "--no-align", self.project.name]
        return self.inside("postgres", *psql, "-c", query).split("\n")[:-1]

    def logs(self, service, *options):
        """The lines of its log, without empty ones."""
        text = self.compose("logs", "--no-log-prefix", "--no-color", *options, service).stdout
        return [line for line in text.splitlines() if line.strip()]


def apart(slug):
    """A name that no stack of the user's has: stacks with this name are deleted with their data."""
    return f"trial-{slug}"


def free_containers(project, **environment):
    down = "docker compose down --volumes --remove-orphans --timeout=2".split()
    run(*down, cwd=project, **environment)


def wait_for(look, seconds):
    """Seconds until ``look`` succeeds."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        try:
            if look():
                return time.monotonic() - begun
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise AssertionError(f"nothing after {seconds} s")


FIGURES = []


def report(line):
    """Show ``line`` beside the progress of the tests, also when they run in several processes."""
    FIGURES.append(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    made = yield
    made.user_properties += [("figures", line) for line in FIGURES]
    FIGURES.clear()
    return made


class Figures:
    """Prints what tests report."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        for name, line in report.user_properties:
            if name == "figures":
                self.terminal.ensure_newline()
                self.terminal.write_line(f"  {line}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Figures(terminal))


@pytest.fixture(scope="session")
def engine():
    """Docker with Compose; without it the test is skipped, but not where it is demanded."""
    works = shutil.which("docker", path=ENVIRONMENT["PATH"]) and (
        subprocess.run(["docker", "compose", "ls"], capture_output=True).returncode == 0
    )
    if not works:
        refuse = pytest.fail if os.environ.get("REQUIRE_DOCKER") else pytest.skip
        refuse("no Docker engine answers")


def generate(cookies, options, slug, port):
    """A project whose stack has a name and a port that no other has."""
    result = cookies.bake(extra_context={"project_slug": slug, **options})
    assert result.exception is None, result.exception
    name = "HTTP_PORT" if options["use_nginx"] else "PORT"
    with (result.project_path / ".env").open("a") as settings:
        settings.write(f"COMPOSE_PROJECT_NAME={apart(slug)}\n{name}={port}\n")
    free_containers(result.project_path)  # of an earlier run that was killed
    return result.project_path


CANARY = "canary-4f1c9e7ab2"  # stands in files that no image may hold


@contextmanager
def laboratory(cookies, options, slug, port):
    """The production stack with the endpoints of faults.py, without rate limits, on ``port``."""
    project = generate(cookies, options, slug, port)
    shutil.copy(Path(__file__).with_name("faults.py"), project / slug / "faults.py")
    factory = project / slug / "__init__.py"
    factory.write_text(
        factory.read_text()
        .replace("    errors,\n", "    errors,\n    faults,\n")
        .replace("    return app", "    app.register_blueprint(faults.bp)\n    return app")
    )
    with (project / ".env").open("a") as settings:
        settings.write("RATE_LIMIT=100000r/s\nRATE_BURST=10000\nMAX_CONTENT_LENGTH=100000000\n")
    for secret in (".env.local", ".git/config", "instance/lab.db", "secrets/key.pem", "id_rsa"):
        (project / secret).parent.mkdir(exist_ok=True)
        (project / secret).write_text(CANARY)
    try:
        run(*"docker compose -f compose.yaml up --detach --build --wait".split(), cwd=project)
        yield Stack(project, options, port)
    finally:
        free_containers(project)


@pytest.fixture(scope="session")
def lab(engine, cookies_session):
    """With all services."""
    with laboratory(cookies_session, COMBINATIONS[0], "lab", 8180) as stack:
        yield stack


@pytest.fixture(scope="session")
def open_lab(engine, cookies_session):
    """With PostgreSQL and Redis, without nginx."""
    options = COMBINATIONS[0] | {"use_nginx": False}
    with laboratory(cookies_session, options, "open_lab", 8181) as stack:
        yield stack


@pytest.fixture(params=["lab", "open_lab"], ids=["nginx", "direct"])
def door(request):
    """With nginx and without."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session", params=COMBINATIONS, ids=name_of)
def stack(request, engine, cookies_session):
    """The production stack of a combination, as it is generated."""
    options = request.param
    slug = "stack_" + name_of(options).replace("-", "_")
    project = generate(cookies_session, options, slug, 8182)
    begun = time.monotonic()
    try:
        run(*"docker compose -f compose.yaml up --detach --build --wait".split(), cwd=project)
        report(f"{name_of(options)}: healthy after {time.monotonic() - begun:.1f} s")
        yield Stack(project, options, 8182)
    finally:
        free_containers(project)
