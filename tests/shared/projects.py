"""The combinations of options, and how to generate, change and run projects."""

import ast
import itertools
import os
import re
import signal
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pairwise
import pytest

TEMPLATE = Path(__file__).parents[2]
# `make test-faults` sets DEPLOYMENTS, and runs each case; `make test` runs one of each kind.
WHOLE = "DEPLOYMENTS" in os.environ
PAYLOADS = TEMPLATE / "tests/payloads"  # what tests add to projects, or send
OPTIONS = [name for name, answers in pairwise.questions().items() if answers[0] is True]
SERVICES = OPTIONS[:3]  # the sizes of a full project are those with these options
BARE = dict.fromkeys(OPTIONS, False) | {"frontend": "none"}
FULL = BARE | dict.fromkeys(SERVICES, True)
# Containers: each combination of the services, in turns with all other options and with none
ELSEWHERE = {"use_tailwind", "use_tls"}  # see test_frontend.py and test_tls.py
OTHERS = [option for option in OPTIONS[3:] if option not in ELSEWHERE]
COMBINATIONS = [
    BARE
    | dict(zip(SERVICES, chosen, strict=True))
    | dict.fromkeys(OTHERS, sum(chosen) % 2 == 1)
    | {"use_accounts": chosen[0] and sum(chosen) % 2 == 1}  # they need PostgreSQL
    for chosen in itertools.product([True, False], repeat=len(SERVICES))
]
SETTINGS = set(
    re.findall(
        r"^(?:# )?([A-Z_]+)=",
        (TEMPLATE / "{{cookiecutter.project_slug}}/.env.example").read_text(),
        re.MULTILINE,
    )
)
# Without the settings of the user who runs the tests; the tools are next to their Python.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("COMPOSE_", "FLASK_", "MAKE", "PYTEST_", "PYTHON", "VIRTUAL_ENV"))
    and name.removesuffix("_FILE") not in SETTINGS
} | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    # mypy compares the files with its cache, which one process at a time may use
    "MYPY_CACHE_DIR": str(TEMPLATE / "build/mypy" / os.environ.get("PYTEST_XDIST_WORKER", "main")),
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "commit.gpgsign",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_CONFIG_KEY_1": "core.hooksPath",
    "GIT_CONFIG_VALUE_1": "",
}


def name_of(combination: dict) -> str:
    """Return what was chosen, such as ``postgres-nginx``, or ``bare`` for nothing."""
    named = [str(a) for a in combination.values() if a not in (True, False, "none")]
    options = [o.removeprefix("use_") for o in OPTIONS if combination.get(o)]
    return "-".join(options + named) or "bare"


def run(*command, cwd: Path, check: bool = True, timeout: float = 600, **environment: str):
    """Run ``command``; if it fails, show its output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    if check:
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done


@contextmanager
def running(command, project, end=signal.SIGINT, **environment):
    """Run a program until the end of the block; its output is in a log file."""
    log = project.parent / "log"
    with log.open("w") as output:
        program = subprocess.Popen(
            command,
            cwd=project,
            env=ENVIRONMENT | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # Programs ignore Ctrl-C if the tests run in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        yield program, log
    finally:
        os.killpg(program.pid, end)
        try:
            program.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            raise


def files_of(project: Path) -> set[str]:
    """Return the paths of all files of a project."""
    return {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}


def change(file: Path, before: str, after: str) -> None:
    """Replace a text that a file has to contain."""
    text = file.read_text()
    assert before in text, f"{file.name} lacks {before!r}"
    file.write_text(text.replace(before, after))


def commands(text: str, heading: str | None = None) -> list[str]:
    """Return the commands in a document, or in its section ``heading``."""
    if heading:
        text = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"^ *\$ (.+)$", text, re.MULTILINE)


def type_in(tmp_path: Path, *arguments, template=TEMPLATE, **environment: str):
    """Run cookiecutter on the command line; its output directory is ``out``."""
    command = ["cookiecutter", template, "--no-input", "--output-dir", tmp_path / "out", *arguments]
    return run(*command, cwd=tmp_path, check=False, **environment)


def config_in(folder: Path) -> Path:
    """Return a configuration with which cookiecutter stores its own files in ``folder``."""
    config = folder / "cookiecutter.yaml"
    names = ("replay_dir", "cookiecutters_dir")
    config.write_text("".join(f"{name}: {folder / name}\n" for name in names))
    return config


def check_workflows(folder: Path) -> None:
    """Check the files for GitHub for errors and risks."""
    run("zizmor", "--offline", "--persona=pedantic", "--quiet", ".github", cwd=folder)
    workflows = [path.relative_to(folder) for path in folder.glob(".github/workflows/*.yml")]
    files = {"github-workflows": workflows, "dependabot": [".github/dependabot.yml"]}
    for schema, paths in files.items():
        run("check-jsonschema", f"--builtin-schema=vendor.{schema}", *paths, cwd=folder)


def constants(source: str) -> dict:
    """Return the constants that a module assigns, by name."""
    return {
        node.targets[0].id: node.value.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }


def texts(project):
    """Return the text of each file except .env, which contains random characters, by path."""
    return {path: (project / path).read_bytes().decode() for path in files_of(project) - {".env"}}


def locked(project):
    """Return the versions in the lock file of a project."""
    packages = tomllib.loads((project / "uv.lock").read_text())["package"]
    return {package["name"]: package["version"] for package in packages if "version" in package}


def hook():
    """Return the names in the hook that deletes the files of declined options."""
    source = (TEMPLATE / "hooks/post_gen_project.py").read_text()
    names = {"__name__": "hook"}
    exec(source.replace("{{ cookiecutter | tojson }}", '{"project_slug": "my_service"}'), names)
    return names


OWNED, is_declined = (hook()[name] for name in ("OWNED", "is_declined"))


def has_assets(chosen):
    """Return whether esbuild builds scripts or styles."""
    return not is_declined("frontend or use_tailwind", chosen)


def parameters(rows):
    """Return parameters for ``project``; one process runs all tests of one project."""
    return [pytest.param(r, id=name_of(r), marks=pytest.mark.xdist_group(name_of(r))) for r in rows]


ROWS = pairwise.table(pairwise.questions())
EACH = parameters(ROWS)
WITH_ALL = pytest.mark.parametrize("project", parameters([FULL]), indirect=True)


def each_combination(option: str | None = None):
    """Run a test on the project of each row of the pairwise table, or of each with ``option``."""
    rows = [row for row in EACH if option is None or row.values[0][option]]
    return pytest.mark.parametrize("project", rows, indirect=True)
