"""The servers that are measured, each in a container with the limits of ``compose.yaml``."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cookiecutter.main import cookiecutter
from dotenv import dotenv_values

HERE = Path(__file__).parent
COMPOSE = ["docker", "compose", "-f", "compose.yaml"]
# The stack of this name is deleted with its volumes, before and after.
SETTINGS = {
    "COMPOSE_PROJECT_NAME": "bench-service",
    "HTTP_PORT": "8190",
    "RATE_LIMIT": "1000000r/s",
    "RATE_BURST": "100000",
}


def run(*command: object, cwd: Path = HERE, check: bool = True) -> str:
    """Return the output of ``command``; if it fails, exit."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if check and done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout.strip()


@dataclass
class Server:
    """A server in a container; requests are sent from inside its network."""

    container: str
    port: int = 8000

    def wrk(self, path: str, seconds: int, connections: int) -> str:
        """Return what wrk prints about these requests; all of them must succeed."""
        out = run(
            "docker", "run", "--rm", f"--network=container:{self.container}", "bench-load",
            "wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s",
            "--latency", f"http://127.0.0.1:{self.port}{path}",
        )  # fmt: skip
        if "Non-2xx" in out or "Socket errors" in out:
            sys.exit(f"{path} of {self.container}: {out}")
        return out

    def rate(self, path: str, seconds: int) -> float:
        """Return requests per second over eight connections."""
        out = self.wrk(path, seconds, connections=8)
        return float(re.search(r"Requests/sec:\s+(\S+)", out)[1])

    def slowest(self, path: str, seconds: int) -> float:
        """Return the 99th percentile in milliseconds, over 64 connections."""
        out = self.wrk(path, seconds, connections=64)
        value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", out).groups()
        return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]

    def stylesheet(self) -> str:
        """Return the path of the stylesheet, as the page names it."""
        script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/').read())"
        page = run("docker", "exec", self.container, "python", "-c", script)
        return re.search(r'href="(/static/[^"]*style\.css)"', page)[1]

    def memory(self) -> float:
        """Return the megabytes of all processes of gunicorn; they divide shared pages (PSS)."""
        script = "cat $(grep -l gunicor[n] /proc/[0-9]*/cmdline | sed s/cmdline/smaps_rollup/)"
        out = run("docker", "exec", self.container, "sh", "-c", script, check=False)
        return sum(map(int, re.findall(r"^Pss: +(\d+)", out, re.MULTILINE))) / 1e3 or sys.exit(out)

    def create_app(self) -> float:
        """Return the milliseconds to create the application in a new process, after all imports."""
        script = (
            "import time, bench, config.settings, psycopg; begun = time.perf_counter();"
            "bench.create_app(); print((time.perf_counter() - begun) * 1000)"
        )
        return float(run("docker", "exec", self.container, "python", "-c", script).split()[-1])

    def wait(self) -> None:
        """Wait until the server responds."""
        script = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez')"
        for _ in range(100):
            done = run("docker", "exec", self.container, "python", "-c", script, check=False)
            if not done:
                return
            time.sleep(0.2)
        sys.exit(f"{self.container} does not start: {done}")


@dataclass
class Servers:
    """All measured servers."""

    service: Server
    nginx: Server
    uncached: Server
    bare: Server
    typical: Server


@contextmanager
def started(folder: Path) -> Iterator[Servers]:
    """Start a generated service with all services, its two variants, and the typical service."""
    project = generate(folder)
    run("docker", "build", "--tag=bench-load", "load")
    run("docker", "build", "--tag=bench-typical", "typical")
    stop(project)
    try:
        run(*COMPOSE, "up", "--detach", "--build", "--wait", cwd=project)
        add_notes(40)
        yield Servers(
            service=Server("bench-service-web-1"),
            nginx=Server("bench-service-nginx-1", 8080),
            uncached=variant(project, "uncached"),
            bare=variant(project, "bare", "--access-logfile=-"),
            typical=typical(project),
        )
    finally:
        stop(project)


def generate(folder: Path) -> Path:
    """Generate a service with all services, without rate limits; return its directory."""
    context = {"project_slug": "bench"}
    options = {"no_input": True, "default_config": True, "output_dir": str(folder)}
    cookiecutter(str(HERE.parent), extra_context=context, **options)
    with (folder / "bench/.env").open("a") as settings:
        settings.write("".join(f"{name}={value}\n" for name, value in SETTINGS.items()))
    return folder / "bench"


def add_notes(number: int) -> None:
    """Add notes to the database until it contains ``number``."""
    row = "'Note ' || n, repeat('An example. ', 10), now()"
    series = f"generate_series((SELECT count(*) + 1 FROM notes), {number}) AS n"
    query = f"INSERT INTO notes (title, body, created_at) SELECT {row} FROM {series}"
    psql = ["psql", "--username=postgres", f"--command={query}", "bench"]
    run("docker", "exec", "bench-service-postgres-1", *psql)


def stop(project: Path) -> None:
    run("docker", "rm", "--force", "bench-uncached", "bench-bare", "bench-typical")
    run(*COMPOSE, "down", "--volumes", "--timeout=2", cwd=project)


def variant(project: Path, name: str, *options: str) -> Server:
    """Start ``variants/name.py`` as Compose starts the service, with the same settings."""
    run(
        *COMPOSE, "run", "--detach", "--no-deps", f"--name=bench-{name}",
        f"--volume={HERE}/variants/{name}.py:/app/{name}.py:ro",
        "web", "gunicorn", "--config=python:config.gunicorn", *options, f"{name}:app", cwd=project,
    )  # fmt: skip
    server = Server(f"bench-{name}")
    server.wait()
    return server


def typical(project: Path) -> Server:
    """Start the typical service, on the same database and the same Redis."""
    secrets = dotenv_values(project / ".env")
    database, redis = secrets["DATABASE_PASSWORD"], secrets["REDIS_PASSWORD"]
    run(
        "docker", "run", "--detach", "--name=bench-typical", "--network=bench-service_data",
        "--cpus=1", "--memory=512m", "--pids-limit=128",
        f"--env=DATABASE_URL=postgresql+psycopg://bench:{database}@postgres:5432/bench",
        f"--env=REDIS_URL=redis://:{redis}@redis:6379/0", "bench-typical",
    )  # fmt: skip
    server = Server("bench-typical")
    server.wait()
    return server


def image_size(image: str) -> float:
    """Return the size of an image in megabytes."""
    return int(run("docker", "image", "inspect", "--format={{.Size}}", image)) / 1e6
