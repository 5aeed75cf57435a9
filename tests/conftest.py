"""What all tests share: the combinations, a way to generate, and a way to run programs."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["stacks"]
TEMPLATE = Path(__file__).parents[1]
OPTIONS = ("use_postgres", "use_redis", "use_nginx")
COMBINATIONS = [
    dict(zip(OPTIONS, chosen, strict=True)) for chosen in itertools.product([True, False], repeat=3)
]
# The tools stand beside the Python that runs the tests; no other environment may leak in.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("COMPOSE_", "MAKE", "PYTHON", "VIRTUAL_ENV"))
} | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def name_of(combination: dict) -> str:
    """What was chosen, such as ``postgres-nginx``; ``bare`` when nothing was."""
    return "-".join(o.removeprefix("use_") for o in OPTIONS if combination[o]) or "bare"


def run(*command, cwd: Path, check: bool = True, timeout: float = 600, **environment: str):
    """Run ``command``; when it fails, show all that it printed."""
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


def files_of(project: Path) -> set[str]:
    """The paths of all files of a project."""
    return {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True, scope="session")
def _tools_on_path():
    """Let the hook find uv as it does for whoever has it installed."""
    os.environ["PATH"] = ENVIRONMENT["PATH"]


@pytest.fixture
def bake(cookies):
    """Generate a project with these answers, and return its folder."""

    def generate(**answers) -> Path:
        result = cookies.bake(extra_context=answers)
        assert result.exception is None, result.exception
        return result.project_path

    return generate


def each_combination(option: str | None = None):
    """Run a test for each combination, or each with ``option``; one process runs all of one."""
    parameters = [
        pytest.param(c, id=name_of(c), marks=pytest.mark.xdist_group(name_of(c)))
        for c in COMBINATIONS
        if option is None or c[option]
    ]
    return pytest.mark.parametrize("project", parameters, indirect=True)


@pytest.fixture(scope="session")
def project(request, tmp_path_factory, cookies_session) -> Path:
    """The project of a combination, generated once and not to be changed."""
    result = cookies_session.bake(extra_context=request.param)
    assert result.exception is None, result.exception
    return result.project_path
