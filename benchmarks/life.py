"""What no rate shows: generation, imports, memory over time, and a second container."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from comparison import HERE, TEMPLATE, Comparison, Target, run

REQUESTS = 200_000


def generate(template: Path) -> Callable[[], float]:
    """Seconds to generate, with no uv on the path: nothing is locked."""

    def measured() -> float:
        program = Path(sys.executable).with_name("cookiecutter")
        with tempfile.TemporaryDirectory() as folder:
            command = [program, template, "--no-input", f"--output-dir={folder}"]
            begun = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={"PATH": folder})
            return time.monotonic() - begun

    return measured


def imports(target: Target, what: str) -> Callable[[], float]:
    """Milliseconds for ``what``, in a new process in the container."""
    script = (HERE / "inside/imports.py").read_text()
    command = ["docker", "exec", target.container, "python", "-c", script, what]
    return lambda: float(run(*command).splitlines()[-1])


def memory_over_time(target: Target) -> tuple[Callable[[], float], Callable[[], float]]:
    """Megabytes after ``REQUESTS`` requests, and after the first tenth of them."""
    early = []

    def late() -> float:
        serve(target, REQUESTS // 10)
        early.append(target.memory())
        serve(target, REQUESTS - REQUESTS // 10)
        return target.memory()

    return late, lambda: early[-1]


def serve(target: Target, requests: int) -> None:
    """Have the service answer at least so many requests: pages, lists and probes."""
    while requests > 0:
        for path in ("/", "/notes", "/livez"):
            # so many connections that no worker is left out
            requests -= int(target.wrk(path, 64, 5)[0] * 5)


def replicas(project: Path, entrance: Target, number: int) -> Callable[[], float]:
    """Pages per second behind nginx with so many containers of half a CPU each."""
    compose = ["docker", "compose", "-f", "compose.yaml"]

    def measured() -> float:
        options = ["--detach", "--wait", "--no-recreate", f"--scale=web={number}", "web"]
        run(*compose, "up", *options, cwd=project)
        ids = run(*compose, "ps", "--quiet", "web", cwd=project).split()
        run("docker", "update", "--cpus=0.5", *ids)
        time.sleep(2)  # until nginx has found them
        entrance.wrk("/", 16, 1)
        return entrance.wrk("/", 16, 3)[0]

    return measured


def comparisons(ours: Target, nginx: Target, project: Path) -> list[Comparison]:
    """All of it; the replicas last, for they slow the service down."""
    late, early = memory_over_time(ours)
    return [
        Comparison(
            "generation, without a lock", generate(TEMPLATE), generate(HERE / "empty"),
            1.3, "an empty template", "s", at_most=True,
        ),
        Comparison(
            "import of the service", imports(ours, "service"), imports(ours, "libraries"),
            1.2, "its libraries alone", "ms", at_most=True,
        ),
        Comparison(
            "create_app", imports(ours, "create_app"), lambda: 50.0,
            1, "50 ms", "ms", at_most=True,
        ),
        Comparison(
            f"memory after {REQUESTS:,} requests", late, early,
            1.02, "after a tenth of them", "MB", at_most=True, once=True,
        ),
        Comparison(
            "page, two containers of half a CPU", replicas(project, nginx, 2),
            replicas(project, nginx, 1), 1.8, "one",
        ),
    ]  # fmt: skip
