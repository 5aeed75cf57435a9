"""Stacks for the tests that need containers."""

import http.client
import itertools
import json
import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from conftest import COMBINATIONS, ENVIRONMENT, FULL, name_of, run
from dotenv import dotenv_values


@dataclass
class Stack:
    """A running stack."""

    project: Path
    options: dict
    port: int

    @property
    def name(self):
        """Return the prefix of its images, volumes and networks."""
        return dotenv_values(self.project / ".env")["COMPOSE_PROJECT_NAME"]

    def needs(self, option):
        """Skip the test if this stack does not have ``option``."""
        if not self.options[option]:
            pytest.skip(f"the stack does not have {option}")

    def compose(self, *arguments, check=True):
        return run(
            "docker", "compose", "-f", "compose.yaml", *arguments, cwd=self.project, check=check
        )

    def up(self):
        self.compose("up", "--detach", "--build", "--wait")

    def pause(self, *containers):
        """Pause containers; runc gives up if a busy machine does not freeze them soon enough."""
        command = ("docker", "pause", *containers)
        wait_for(lambda: not run(*command, cwd=self.project, check=False).returncode, 30)

    def signal(self, service, name):
        """Send a signal to the server in a container, which is the only child of docker-init."""
        command = f"kill -{name} $(cat /proc/1/task/1/children)"
        self.inside(service, "sh", "-c", command, check=False)  # the shell may end with it

    def network(self, verb, service):
        """Connect or disconnect a container and the network of the data stores."""
        container = self.containers()[service]["Id"]
        alias = ["--alias", service] if verb == "connect" else []
        run("docker", "network", verb, *alias, f"{self.name}_data", container, cwd=self.project)

    def get(self, path, method="GET", body=None, timeout=10, **headers):
        """Return the response of the published port, over a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        connection.request(method, path, body=body, headers=headers | {"Connection": "close"})
        response = connection.getresponse()
        response.text = response.read().decode()
        return response

    def containers(self):
        """Return the output of `docker inspect` for each container, by service."""
        ids = self.compose("ps", "--all", "--quiet").stdout.split()
        found = json.loads(run("docker", "inspect", *ids, cwd=self.project).stdout)
        return {c["Config"]["Labels"]["com.docker.compose.service"]: c for c in found}

    def health(self, service):
        """Return the result of the health check of a container."""
        return self.containers()[service]["State"]["Health"]["Status"]

    def inside(self, service, *command, check=True):
        """Return the output of ``command`` in the container of ``service``."""
        return self.compose("exec", "-T", service, *command, check=check).stdout

    def memory(self, service):
        """Return the private memory of the processes of a container, in bytes."""
        text = self.inside(service, "sh", "-c", "cat /proc/[0-9]*/smaps_rollup", check=False)
        return sum(int(size) << 10 for size in re.findall(r"^Pss_Anon: +(\d+) kB", text, re.M))

    def sql(self, query):
        """Return the rows of a query by the superuser of the database."""
        psql = ["psql", "--username=postgres", "--tuples-only", "--no-align", self.project.name]
        return self.inside("postgres", *psql, "-c", query).split("\n")[:-1]

    def logs(self, service, *options):
        """Return the lines of the log, without empty lines."""
        text = self.compose("logs", "--no-log-prefix", "--no-color", *options, service).stdout
        return [line for line in text.splitlines() if line.strip()]


def apart(name):
    """Return a name that no stack of the user has: its stack and data are deleted."""
    return f"trial-{name}"


def free_containers(project, **environment):
    down = "docker compose down --volumes --remove-orphans --timeout=2".split()
    run(*down, cwd=project, **environment)


def wait_for(look, seconds):
    """Return the seconds until ``look`` succeeds."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        try:
            if look():
                return time.monotonic() - begun
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise AssertionError(f"no success within {seconds} s")


FIGURES = []


def report(line):
    """Print ``line`` during the tests, even if they run in several processes."""
    FIGURES.append(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    made = yield
    made.user_properties += [("figures", line) for line in FIGURES]
    FIGURES.clear()
    return made


class Figures:
    """Prints the lines that tests report."""

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
    """Require Docker with Compose: without it, skip the test, or fail if REQUIRE_DOCKER is set."""
    works = shutil.which("docker", path=ENVIRONMENT["PATH"]) and (
        subprocess.run(["docker", "compose", "ls"], capture_output=True).returncode == 0
    )
    if not works:
        refuse = pytest.fail if os.environ.get("REQUIRE_DOCKER") else pytest.skip
        refuse("no Docker engine is running")


class Proxy(socketserver.StreamRequestHandler):
    """Forwards a request to nginx, with the address of the client."""

    def handle(self):
        head = b"".join(itertools.takewhile(bytes.strip, self.rfile))
        head = re.sub(rb"(?im)^connection:.*\r\n", b"", head)
        head += b"Connection: close\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"
        size = re.search(rb"(?i)content-length: (\d+)", head)
        with socket.create_connection(("127.0.0.1", self.server.nginx)) as nginx:
            nginx.sendall(head + self.rfile.read(int(size[1]) if size else 0))
            shutil.copyfileobj(nginx.makefile("rb"), self.wfile)


@contextmanager
def https(port, folder):
    """Run a proxy for HTTPS in front of nginx; return its address and its certificate."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    certificate = folder / "ca.pem"
    authority.cert_pem.write_to_path(certificate)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        server.nginx = port
        later = {"do_handshake_on_connect": False}  # a browser opens connections in advance
        server.socket = context.wrap_socket(server.socket, server_side=True, **later)
        threading.Thread(target=server.serve_forever).start()
        yield f"https://127.0.0.1:{server.server_address[1]}", str(certificate)
        server.shutdown()


SLUG = "user"  # a keyword of SQL; the same for all stacks, so that Docker caches the dependencies


@contextmanager
def trial(cookies, options, name, port, slug=SLUG):
    """A stack with a name and a port that no other has: not started yet, and deleted at the end."""
    result = cookies.bake(extra_context={"project_slug": slug, **options})
    assert result.exception is None, result.exception
    variable = "HTTP_PORT" if options["use_nginx"] else "PORT"
    with (result.project_path / ".env").open("a") as settings:
        settings.write(f"COMPOSE_PROJECT_NAME={apart(name)}\n{variable}={port}\n")
    free_containers(result.project_path)  # those of an earlier run that was killed
    try:
        yield Stack(result.project_path, options, port)
    finally:
        free_containers(result.project_path)


CANARY = "canary-4f1c9e7ab2"  # content of files that no image may contain


@contextmanager
def laboratory(cookies, options, name, port, module="faults", settings=""):
    """Start the production stack with the endpoints of a module, without rate limits."""
    with trial(cookies, options, name, port) as stack:
        project = stack.project
        shutil.copy(Path(__file__).with_name(f"{module}.py"), project / SLUG)
        factory = project / SLUG / "__init__.py"
        factory.write_text(
            factory.read_text()
            .replace("    errors,\n", f"    errors,\n    {module},\n")
            .replace("    return app", f"    app.register_blueprint({module}.bp)\n    return app")
        )
        with (project / ".env").open("a") as file:
            limits = "RATE_LIMIT=100000r/s\nRATE_BURST=10000\nMAX_CONTENT_LENGTH=100000000\n"
            file.write(limits + settings)
        for secret in (".env.local", ".git/config", "instance/lab.db", "secrets/key.pem", "id_rsa"):
            (project / secret).parent.mkdir(exist_ok=True)
            (project / secret).write_text(CANARY)
        stack.up()
        yield stack


@pytest.fixture(scope="session")
def lab(engine, cookies_session):
    """Start a stack with all services."""
    with laboratory(cookies_session, FULL, "lab", 8180) as stack:
        yield stack


@pytest.fixture(scope="session")
def open_lab(engine, cookies_session):
    """Start a stack with PostgreSQL and Redis, but without nginx."""
    with laboratory(cookies_session, FULL | {"use_nginx": False}, "open-lab", 8181) as stack:
        yield stack


@pytest.fixture(params=["lab", "open_lab"], ids=["nginx", "direct"])
def door(request):
    """Return a stack with nginx, and one without."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session", params=COMBINATIONS, ids=name_of)
def stack(request, engine, cookies_session):
    """Start the production stack of a combination, as generated."""
    name = name_of(request.param)
    with trial(cookies_session, request.param, f"stack-{name}", 8182) as stack:
        begun = time.monotonic()
        stack.up()
        report(f"{name}: healthy after {time.monotonic() - begun:.1f} s")
        yield stack
