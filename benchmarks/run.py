"""Measure a generated service against bare Flask, and against the practice of the field.

python benchmarks/run.py           all of it; writes docs/performance.md and its plot
python benchmarks/run.py --quick   the rates only, shorter; prints the table
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import life
import report
from comparison import HERE, TEMPLATE, Comparison, Target, run
from cookiecutter.main import cookiecutter
from dotenv import dotenv_values

LIMITS = ["--cpus=1", "--memory=512m", "--pids-limit=128"]  # as compose.yaml sets them for web
BASE = "python:3.14-slim-trixie"
NOT_CACHED = "--header=Authorization: Bearer nobody"  # answers to people are never kept


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
        settings.write("COMPOSE_PROJECT_NAME=trial-bench\nHTTP_PORT=8190\n")
        settings.write("RATE_LIMIT=1000000r/s\nRATE_BURST=100000\n")
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


@contextmanager
def container(name: str, *options: object) -> Iterator[Target]:
    run("docker", "rm", "--force", name, check=False)
    run("docker", "run", "--detach", f"--name={name}", *LIMITS, *options)
    try:
        yield Target(name)
    finally:
        run("docker", "rm", "--force", name)


def bare() -> Iterator[Target]:
    """Flask alone, in the image of the service, with gunicorn set up alike."""
    return container(
        "bench-bare", "--env=APP_ENV=development", "--env=SECRET_KEY=not-used-for-anything",
        f"--volume={HERE}/bare/bare.py:/app/bare.py:ro", "--workdir=/app",
        "trial-bench-web", "gunicorn", "--worker-class=gthread", "--workers=2", "--threads=8", "--preload",
        "--bind=0.0.0.0:8000", "--keep-alive=75", "--access-logfile=-",
        "--worker-tmp-dir=/dev/shm", "bare:app",
    )  # fmt: skip


def of_the_field(project: Path) -> Iterator[Target]:
    """What the common guides show, on the same database and the same Redis."""
    secrets = dotenv_values(project / ".env")
    database, redis = secrets["DATABASE_PASSWORD"], secrets["REDIS_PASSWORD"]
    return container(
        "bench-of-the-field", "--network=trial-bench_data",
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
            "list of 20 notes", ours.rate("/notes", s, NOT_CACHED),
            field.rate("/notes", s, NOT_CACHED), 2, practice,
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
    run("docker", "run", "--rm", BASE, "true")  # a build alone does not keep it
    base = image_size(BASE)
    return [
        Comparison(
            "memory of all processes", ours.memory, field.memory, 0.35, practice, "MB", at_most=True
        ),
        Comparison(
            "added to the base image", lambda: image_size("trial-bench-web") - base,
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
        ours, nginx = Target("trial-bench-web-1"), Target("trial-bench-nginx-1", 8080)
        with bare() as flask, of_the_field(project) as field:
            wait(flask)
            wait(field)
            print(f"{rounds} rounds of {seconds} s each", flush=True)
            figures = rates(ours, nginx, flask, field, seconds)
            if not quick:
                figures += sizes(ours, field, project) + life.comparisons(ours, nginx, project)
            for comparison in figures:
                comparison.measure(rounds)
    print(report.table(figures))
    print(f"\n{(time.monotonic() - begun) / 60:.1f} minutes")
    if not quick:
        report.write(figures)


if __name__ == "__main__":
    main()
