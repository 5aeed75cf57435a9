"""Stacks of containers, which tests start, ask, and delete."""

import http.client
import json
import os
import re
import shutil
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from dotenv import dotenv_values
from projects import PAYLOADS, run

DIGITS = f"20261{os.environ.get('TRIAL_PORTS', '')}"  # a project whose name has only digits


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
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            body, headers["Content-Type"] = json.dumps(body), "application/json"
        headers["Connection"] = "close"
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        ) as connection:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            response.content = response.read()
        response.text = response.content.decode(errors="replace")
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

    def sql(self, query, database=None):
        """Return the rows of a query by the superuser of the database."""
        database = database or self.project.name
        psql = ["psql", "--username=postgres", "--tuples-only", "--no-align", database]
        return self.inside("postgres", *psql, "-c", query).split("\n")[:-1]

    def logs(self, service, *options):
        """Return the lines of the log, without empty lines."""
        text = self.compose("logs", "--no-log-prefix", "--no-color", *options, service).stdout
        return [line for line in text.splitlines() if line.strip()]


def stylesheet(stack):
    """Return the paths of the stylesheet: of the page, without a version, and with another."""
    path = re.search(r'href="(/static/v[0-9a-f]{8}/style\.css)"', stack.get("/").text)[1]
    return path, "/static/style.css", "/static/v00000000/style.css"


def unique_name(name):
    """Return a name that no stack of the user has: leftovers.py deletes everything of this name.

    ``TRIAL`` and ``TRIAL_PORTS`` keep two runs on one machine apart.
    """
    return f"trial{os.environ.get('TRIAL', '')}-{name}"


def unfinished_jobs(stack):
    """Return how many jobs wait in the queue, or run."""
    queries = (("llen", "celery"), ("hlen", "unacked"))
    return sum(int(stack.inside("queue", "redis-cli", *query)) for query in queries)


def workers(stack):
    """Return the workers: the children of the only child of docker-init."""
    look = "m=$(cat /proc/1/task/1/children); m=${m% }; cat /proc/$m/task/$m/children"
    return [int(pid) for pid in stack.inside("web", "sh", "-c", look).split()]


def identity(stack):
    """Return values that change if the container of the service restarts."""
    web = stack.containers()["web"]
    return web["Id"], web["State"]["StartedAt"], web["RestartCount"]


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


SLUG = "user"  # a keyword of SQL; the same for all stacks, so that Docker caches the dependencies


@contextmanager
def temporary_stack(cookies, options, name, port, slug=SLUG):
    """A stack with a name and a port that no other has: not started yet, and deleted at the end."""
    result = cookies.bake(extra_context={"project_slug": slug, **options})
    assert result.exception is None, result.exception
    port += int(os.environ.get("TRIAL_PORTS", "0"))
    variable = "HTTP_PORT" if options["use_nginx"] else "PORT"
    with (result.project_path / ".env").open("a") as settings:
        settings.write(f"COMPOSE_PROJECT_NAME={unique_name(name)}\n{variable}={port}\n")
    free_containers(result.project_path)  # those of an earlier run that was killed
    try:
        yield Stack(result.project_path, options, port)
    finally:
        free_containers(result.project_path)


@contextmanager
def small_volume(project, service, volume, megabytes):
    """Let a volume be a small file system in memory, which a second container keeps mounted.

    Yield the name of that container: in it, the volume is /kept.
    """
    prefix = dotenv_values(project / ".env")["COMPOSE_PROJECT_NAME"]
    volume, holder = f"{prefix}_{volume}", f"{prefix}-holder"
    config = ["docker", "compose", "-f", "compose.yaml", "config", "--images", service]
    image = run(*config, cwd=project).stdout.split()[0]
    tmpfs = ["--opt=type=tmpfs", "--opt=device=tmpfs", f"--opt=o=size={megabytes}m"]
    keep = ["--user=0", "--entrypoint=sleep", f"--volume={volume}:/kept", image, "1200"]
    run("docker", "rm", "--force", holder, cwd=project, check=False)
    run("docker", "volume", "rm", volume, cwd=project, check=False)
    run("docker", "volume", "create", *tmpfs, volume, cwd=project)
    run("docker", "run", "--detach", "--rm", f"--name={holder}", *keep, cwd=project)
    try:
        yield holder
    finally:
        run("docker", "rm", "--force", holder, cwd=project)


CANARY = "canary-4f1c9e7ab2"  # content of files that no image may contain


def add_endpoints(project, module):
    """Add a module of tests/payloads, as an owner would."""
    shutil.copy(PAYLOADS / f"{module}.py", project / SLUG)
    factory = project / SLUG / "__init__.py"
    factory.write_text(
        factory.read_text()
        .replace("    core,\n", f"    core,\n    {module},\n")
        .replace("    return app", f"    app.register_blueprint({module}.bp)\n    return app")
    )


@contextmanager
def stack_with(cookies, options, name, port, module="faults", settings="", prepare=None):
    """Start the production stack with the endpoints of modules, without rate limits.

    ``prepare`` is called with its directory before it starts.
    """
    with temporary_stack(cookies, options, name, port) as stack:
        project = stack.project
        for each in module.split():
            add_endpoints(project, each)
        with (project / ".env").open("a") as file:
            limits = "RATE_LIMIT=100000r/s\nRATE_BURST=10000\nMAX_CONTENT_LENGTH=100000000\n"
            file.write(limits + settings)
        for secret in (".env.local", ".git/config", "instance/lab.db", "secrets/key.pem", "id_rsa"):
            (project / secret).parent.mkdir(exist_ok=True)
            (project / secret).write_text(CANARY)
        (project / SLUG / "static/photo.jpg").write_bytes(os.urandom(100_000))  # not compressed
        if prepare:
            prepare(project)
        stack.up()
        yield stack
