"""A changed line of code rebuilds no layer of dependencies."""

import json
import time

import pytest
from figures import report
from projects import FULL, change, run
from stacks import SLUG, temporary_stack, unique_name

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker-untimed")]


def build(stack):
    """Build the image; return its layers, and the seconds that it took."""
    image = unique_name("layers")
    begun = time.monotonic()
    run("docker", "build", "--quiet", f"--tag={image}", ".", cwd=stack.project)
    seconds = time.monotonic() - begun
    found = json.loads(run("docker", "image", "inspect", image, cwd=stack.project).stdout)
    return found[0]["RootFS"]["Layers"], seconds


def test_changed_line_of_code_rebuilds_only_the_layer_of_the_code(engine, cookies_session):
    with temporary_stack(cookies_session, FULL, "layers", 18620) as stack:
        before, _ = build(stack)
        change(stack.project / SLUG / "home.py", "def index(", "def start(")
        after, code_seconds = build(stack)
        change(
            stack.project / "pyproject.toml",
            "dependencies = [",
            'dependencies = ["inflection==0.5.1",',
        )
        run("uv", "lock", cwd=stack.project)
        with_dependency, dependency_seconds = build(stack)

    report(
        f"build: {code_seconds:.1f} s after a changed line, {dependency_seconds:.1f} s after a changed dependency"
    )
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    assert after[:-1] != with_dependency[:-1]
