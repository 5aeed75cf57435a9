"""What each option adds to a project without options: ``make additions``.

It starts each project in containers; the memory is that of all of them when they are idle.
"""

import re
import tempfile
import time
from pathlib import Path

import yaml
from cookiecutter.main import cookiecutter
from pairwise import questions
from projects import BARE, TEMPLATE, files_of, run
from stacks import Stack, free_containers, unique_name

NOT_COUNTED = {".env", "README.md", "assets/package-lock.json", "uv.lock"}
UNITS = {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}  # of docker stats
NEEDED = {"use_accounts": {"use_postgres": True}}  # these rows say what is added to that
SECONDS = 20  # after which idle services use as much memory as later


def options():
    """Return the answers to the optional questions that add something."""
    front_ends = [name for name in questions()["frontend"] if name != "none"]
    named = {name: {name: True, **NEEDED.get(name, {})} for name in BARE if name != "frontend"}
    return named | {f"frontend={name}": {"frontend": name} for name in front_ends}


def counted(project):
    """Return the number of files and lines, without tests and documents, and the services."""
    paths = [
        path
        for path in sorted(files_of(project) - NOT_COUNTED)
        if not path.startswith((".git/", ".venv/", "docs/", "tests/"))
    ]
    services = yaml.safe_load((project / "compose.yaml").read_text())["services"]
    return len(paths), lines(project, paths), set(services)


def lines(project, paths):
    """Return the number of lines of these files together."""
    return sum((project / path).read_bytes().count(b"\n") for path in paths)


def added(project, bare):
    """Return the first columns of the table: files, lines, services."""
    (files, length, services), before = counted(project), counted(bare)
    names = ", ".join(f"`{name}`" for name in sorted(services - before[2]))
    return [str(files - before[0]), str(length - before[1]), names]


def measured(project):
    """Return the mebibytes of memory of all containers, and the megabytes of the image."""
    with (project / ".env").open("a") as settings:
        settings.write(
            f"COMPOSE_PROJECT_NAME={unique_name('additions')}\nPORT=8199\nHTTP_PORT=8199\n"
        )
        settings.write("BIND_ADDRESS=127.0.0.1\n")  # by default, Caddy is open to the network
    stack = Stack(project, {}, 8199)
    try:
        stack.up()
        time.sleep(SECONDS)
        ids = stack.compose("ps", "--quiet").stdout.split()
        stats = ("docker", "stats", "--no-stream", "--format={{.MemUsage}}")
        usage = run(*stats, *ids, cwd=project).stdout
        sizes = re.findall(r"^([\d.]+)([KMG]iB)", usage, re.MULTILINE)
        inspect = ("docker", "image", "inspect", "--format={{.Size}}")
        size = int(run(*inspect, f"{stack.name}-web", cwd=project).stdout)
    finally:
        free_containers(project)
    return sum(float(number) * UNITS[unit] for number, unit in sizes), size / 1e6


def generate(folder, **answer):
    """Generate a project with at most one option."""
    out = {"no_input": True, "default_config": True, "output_dir": folder}
    return Path(cookiecutter(str(TEMPLATE), extra_context=BARE | answer, **out))


def main():
    """Print a row for each option as soon as it is measured."""
    with tempfile.TemporaryDirectory() as folder:
        bare = generate(f"{folder}/bare")
        memory, image = measured(bare)
        print(f"without options: {memory:.0f} MB of memory, an image of {image:.1f} MB")
        for name, answer in options().items():
            project = generate(f"{folder}/{name}", **answer)
            before, compared = bare, (memory, image)
            if name in NEEDED:
                before = generate(f"{folder}/before-{name}", **NEEDED[name])
                compared = measured(before)
            figures = measured(project)
            more = [f"{figures[0] - compared[0]:.0f}", f"{figures[1] - compared[1]:.1f}"]
            print("|", " | ".join([f"`{name}`", *added(project, before), *more]), "|", flush=True)


if __name__ == "__main__":
    main()
