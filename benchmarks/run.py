"""Measure a generated service against bare Flask, and against the practice of the field.

python benchmarks/run.py           all of it; writes docs/performance.md and its plot
python benchmarks/run.py --quick   the rates only, shorter; prints the table
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import report
from cookiecutter.main import cookiecutter

HERE = Path(__file__).parent
TEMPLATE = HERE.parent
LIMITS = ["--cpus=1", "--memory=512m", "--pids-limit=128"]  # as compose.yaml sets them for web
BASE = "python:3.14-slim-trixie"


def run(*command: object, cwd: Path = HERE, check: bool = True) -> str:
    """What ``command`` prints; when it fails, the end of this program."""
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
class Target:
    """A server in a container, asked from inside of its own network."""

    container: str
    port: int = 8000

    def wrk(
        self, path: str, connections: int, seconds: float, *options: str
    ) -> tuple[float, float]:
        """Requests per second, and the 99th percentile in milliseconds; all were good."""
        out = run(
            "docker", "run", "--rm", f"--network=container:{self.container}", "bench-load",
            "wrk", "--latency", "--threads=1", f"--connections={connections}",
            f"--duration={seconds}s", *options, f"http://127.0.0.1:{self.port}{path}",
        )  # fmt: skip
        if "Non-2xx" in out or "Socket errors" in out:
            sys.exit(f"{path} of {self.container}: {out}")
        words = out.split()
        percentile = words[words.index("99%") + 1]
        for unit, factor in (("us", 1e-3), ("ms", 1), ("s", 1e3)):
            if percentile.endswith(unit):
                return float(words[words.index("Requests/sec:") + 1]), float(
                    percentile.removesuffix(unit)
                ) * factor
        raise AssertionError(percentile)

    def rate(self, path: str, seconds: float, *options: str) -> Callable[[], float]:
        return lambda: self.wrk(path, 8, seconds, *options)[0]

    def p99(self, path: str, seconds: float) -> Callable[[], float]:
        return lambda: self.wrk(path, 64, seconds)[1]

    def memory(self) -> float:
        """Megabytes of all processes of gunicorn, shared pages divided (PSS)."""
        script = (
            "for p in /proc/[0-9]*; do grep -q gunicorn $p/cmdline 2>/dev/null"
            " && grep ^Pss: $p/smaps_rollup; done"
        )
        lines = run("docker", "exec", self.container, "sh", "-c", script, check=False).splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3


@dataclass
class Comparison:
    """One figure of ours and of another, measured in turns."""

    name: str
    ours: Callable[[], float]
    other: Callable[[], float]
    goal: float  # of the ratio
    against: str
    unit: str = "/s"
    at_most: bool = False
    found: list[tuple[float, float]] = field(default_factory=list)

    def measure(self, rounds: int) -> None:
        for _ in range(rounds):
            self.found.append((self.ours(), self.other()))
        print(f"  {self.name}, {self.against}: {self.ratio:.2f}×", flush=True)

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(a for a, _ in self.found), statistics.median(
            b for _, b in self.found
        )

    @property
    def ratio(self) -> float:
        """The median of the ratios of the rounds."""
        return statistics.median(a / b for a, b in self.found)

    @property
    def reached(self) -> bool:
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal


@contextmanager
def stack(folder: Path) -> Iterator[Path]:
    """A generated service with everything, in the shape of production, without limits of rates."""
    cookiecutter(
        str(TEMPLATE),
        no_input=True,
        output_dir=str(folder),
        extra_context={"project_slug": "bench"},
        overwrite_if_exists=True,
    )
    project = folder / "bench"
    with (project / ".env").open("a") as settings:
        settings.write("HTTP_PORT=8190\nRATE_LIMIT=1000000r/s\nRATE_BURST=100000\n")
    compose = ["docker", "compose", "-f", "compose.yaml"]
    run(*compose, "down", "--volumes", "--timeout=2", cwd=project)
    try:
        run(*compose, "up", "--detach", "--build", "--wait", cwd=project)
        for number in range(40):
            post("/notes", {"title": f"Note {number}", "body": "An example. " * 10})
        yield project
    finally:
        run(*compose, "down", "--volumes", "--timeout=2", cwd=project)


def post(path: str, body: dict) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:8190{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()


def secret(project: Path, name: str) -> str:
    lines = (project / ".env").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))


@contextmanager
def container(name: str, *options: object) -> Iterator[Target]:
    run("docker", "rm", "--force", name, check=False)
    run("docker", "run", "--detach", f"--name={name}", *LIMITS, *options)
    try:
        yield Target(name)
    finally:
        run("docker", "rm", "--force", name)


def bare(project: Path) -> Iterator[Target]:
    """Flask alone, in the image of the service, with gunicorn set up alike."""
    package = "/app/bench"
    return container(
        "bench-bare", "--env=APP_ENV=development", "--env=SECRET_KEY=not-used-for-anything",
        f"--volume={HERE}/bare/bare.py:/app/bare.py:ro", f"--workdir={Path(package).parent}",
        "bench-web", "gunicorn", "--worker-class=gthread", "--workers=2", "--threads=8", "--preload",
        "--bind=0.0.0.0:8000", "--keep-alive=75", "--access-logfile=-",
        "--worker-tmp-dir=/dev/shm", "bare:app",
    )  # fmt: skip


def of_the_field(project: Path) -> Iterator[Target]:
    """What the common guides show, on the same database and the same Redis."""
    database, redis = secret(project, "DATABASE_PASSWORD"), secret(project, "REDIS_PASSWORD")
    return container(
        "bench-of-the-field", "--network=bench_data",
        f"--env=DATABASE_URL=postgresql+psycopg://bench:{database}@postgres:5432/bench",
        f"--env=REDIS_URL=redis://:{redis}@redis:6379/0", "bench-field",
    )  # fmt: skip


def wait(target: Target) -> None:
    script = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez')"
    for _ in range(100):
        done = run("docker", "exec", target.container, "python", "-c", script, check=False)
        if not done:
            return
        time.sleep(0.2)
    sys.exit(f"{target.container} does not start: {done}")


def rates(ours: Target, nginx: Target, bare: Target, field: Target, s: float) -> list[Comparison]:
    flask, practice = "bare Flask", "the practice of the field"
    style = "/static/style.css"
    return [
        Comparison("liveness", ours.rate("/livez", s), bare.rate("/livez", s), 0.9, flask),
        Comparison(
            "liveness, p99 at 64 connections", ours.p99("/livez", s), bare.p99("/livez", s),
            1.1, flask, "ms", at_most=True,
        ),
        Comparison("page", ours.rate("/", s), bare.rate("/", s), 0.85, flask),
        Comparison("static file", nginx.rate(style, s), ours.rate(style, s), 10, "without nginx"),
        Comparison("page", nginx.rate("/", s), ours.rate("/", s), 0.9, "without nginx"),
        Comparison("liveness", ours.rate("/livez", s), field.rate("/livez", s), 2.2, practice),
        Comparison("page", ours.rate("/", s), field.rate("/", s), 2.5, practice),
        Comparison("readiness", ours.rate("/readyz", s), field.rate("/readyz", s), 2, practice),
        Comparison(
            "list of 20 notes", ours.rate("/notes", s, "--script=/unique.lua"),
            field.rate("/notes", s), 2, practice,
        ),
        Comparison("the same, cached", ours.rate("/notes", s), field.rate("/cached", s), 4, practice),
        Comparison(
            "page, p99 at 64 connections", ours.p99("/", s), field.p99("/", s),
            0.5, practice, "ms", at_most=True,
        ),
    ]  # fmt: skip


def sizes(ours: Target, field: Target, project: Path) -> list[Comparison]:
    """What does not come from a rate: memory after the load, images, builds, starts."""
    practice = "the practice of the field"
    base = image_size(BASE)
    return [
        Comparison(
            "memory of all processes", ours.memory, field.memory, 0.35, practice, "MB", at_most=True
        ),
        Comparison(
            "added to the base image", lambda: image_size("bench-web") - base,
            lambda: image_size("bench-field") - base, 0.4, practice, "MB", at_most=True,
        ),
        Comparison(
            "build after a change",
            lambda: build(project, project / "bench/home.py", "--target=production"),
            lambda: build(HERE / "field", HERE / "field/app.py"), 0.5, practice, "s", at_most=True,
        ),
        Comparison(
            "start to the first answer", lambda: start(ours), lambda: start(field),
            0.7, practice, "s", at_most=True,
        ),
    ]  # fmt: skip


def image_size(image: str) -> float:
    return int(run("docker", "image", "inspect", "--format={{.Size}}", image)) / 1e6


def build(folder: Path, file: Path, *options: str) -> float:
    """Seconds to build the image again when one file has changed."""
    text = file.read_text()
    file.write_text(f"{text}\n# {time.time()}\n")
    begun = time.monotonic()
    try:
        run("docker", "build", "--quiet", *options, ".", cwd=folder)
    finally:
        file.write_text(text)
    return time.monotonic() - begun


def start(target: Target) -> float:
    """Seconds from the start of the container until it answers."""
    run("docker", "stop", "--time=5", target.container)
    begun = time.monotonic()
    run("docker", "start", target.container)
    address = next(
        network["IPAddress"]
        for network in json.loads(run("docker", "inspect", target.container))[0]["NetworkSettings"][
            "Networks"
        ].values()
    )
    while True:
        try:
            urllib.request.urlopen(f"http://{address}:8000/livez", timeout=1).close()
        except urllib.error.HTTPError:  # the host is not known: an answer all the same
            break
        except OSError:
            time.sleep(0.01)
        else:
            break
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, no report")
    quick = parser.parse_args().quick
    rounds, seconds = (3, 1) if quick else (5, 3)

    begun = time.monotonic()
    print("Building the images", flush=True)
    run("docker", "build", "--tag=bench-load", "load")
    run("docker", "build", "--tag=bench-field", "field")
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder)) as project:
        ours, nginx = Target("bench-web-1"), Target("bench-nginx-1", 8080)
        with bare(project) as flask, of_the_field(project) as field:
            wait(flask)
            wait(field)
            print(f"{rounds} rounds of {seconds} s each", flush=True)
            figures = rates(ours, nginx, flask, field, seconds)
            figures += [] if quick else sizes(ours, field, project)
            for comparison in figures:
                comparison.measure(rounds)
    print(report.table(figures))
    print(f"\n{(time.monotonic() - begun) / 60:.1f} minutes")
    if not quick:
        report.write(figures)


if __name__ == "__main__":
    main()
