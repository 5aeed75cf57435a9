"""The fixtures of all tests: projects, and stacks of containers."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import leftovers
import pytest
from figures import FIGURES, Figures, report
from projects import (
    COMBINATIONS,
    ENVIRONMENT,
    FULL,
    ROWS,
    SERVICES,
    TEMPLATE,
    WHOLE,
    config_in,
    name_of,
    run,
)
from stacks import stack_with, temporary_stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    made = yield
    made.user_properties += [("figures", line) for line in FIGURES]
    FIGURES.clear()
    return made


def is_worker(config):
    """Return whether this process runs tests for another one (pytest-xdist)."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and not is_worker(config):
        config.pluginmanager.register(Figures(terminal))
        os.environ[leftovers.MARK] = str(os.getpid())


# The groups of tests that take longest begin first, so that all processes end at the same time.
LONGEST_FIRST = ["docker", "docker-untimed", "combinations", "deployments", "jobs", "owner"]
LONGEST_FIRST += [name_of(ROWS[0]), "accounts", "additions", "front end", "metrics"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=order)
    skip = pytest.mark.skip(reason="only in `make test-faults`")
    for item in items:
        if item.get_closest_marker("weekly") and not WHOLE:
            item.add_marker(skip)


def order(item):
    """Return a number that is low for a test of a group that takes long."""
    names = {mark.args[0] for mark in item.iter_markers("xdist_group")}
    found = [number for number, name in enumerate(LONGEST_FIRST) if name in names]
    return min(found, default=len(LONGEST_FIRST))


def pytest_sessionstart(session):
    """Delete what a run that was killed has left; SIGTERM ends this run like Ctrl-C."""
    if not is_worker(session.config):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        leftovers.delete()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """After Ctrl-C, end the programs of the tests, and delete what they leave."""
    if not is_worker(session.config) and exitstatus == pytest.ExitCode.INTERRUPTED:
        leftovers.kill_programs()
        leftovers.delete()


@pytest.fixture(autouse=True, scope="session")
def _machine_of_its_own(tmp_path_factory):
    """Let the hook find uv, and keep cookiecutter from using the home directory."""
    ENVIRONMENT["COOKIECUTTER_CONFIG"] = str(config_in(tmp_path_factory.mktemp("cookiecutter")))
    os.environ |= {name: ENVIRONMENT[name] for name in ("COOKIECUTTER_CONFIG", "PATH")}


@pytest.fixture
def bake(cookies):
    """Return a function that generates a project with these answers, and returns its directory."""

    def generate(**answers) -> Path:
        result = cookies.bake(extra_context=answers)
        assert result.exception is None, result.exception
        return result.project_path

    return generate


@pytest.fixture
def no_lock(monkeypatch, tmp_path):
    """Remove uv from the path, so that a generation takes less than half a second."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="session")
def project(request, cookies_session) -> Path:
    """Return the project of a combination. It is generated once; tests must not change it."""
    result = cookies_session.bake(extra_context=request.param)
    assert result.exception is None, result.exception
    shutil.copytree(result.project_path, result.project_path.with_name("fresh"))
    return result.project_path


@pytest.fixture
def fresh(project) -> Path:
    """Return the same project, with only the generated files."""
    return project.with_name("fresh")


@pytest.fixture
def chosen(request, project) -> dict:
    """Return the answers for the options."""
    return request.node.callspec.params["project"]


@pytest.fixture(scope="session")
def engine():
    """Require Docker with Compose: without it, skip the test, or fail if REQUIRE_DOCKER is set."""
    works = shutil.which("docker", path=ENVIRONMENT["PATH"]) and (
        subprocess.run(["docker", "compose", "ls"], capture_output=True).returncode == 0
    )
    if not works:
        refuse = pytest.fail if os.environ.get("REQUIRE_DOCKER") else pytest.skip
        refuse("no Docker engine is running")


@pytest.fixture(scope="session")
def bridge(engine):
    """Return the address at which containers reach this machine."""
    gateway = "{{(index .IPAM.Config 0).Gateway}}"
    command = ["docker", "network", "inspect", "bridge", f"--format={gateway}"]
    return run(*command, cwd=TEMPLATE).stdout.strip()


@pytest.fixture(scope="session")
def full_stack(engine, cookies_session):
    """Start a stack with all services."""
    with stack_with(cookies_session, FULL, "full", 8180) as stack:
        yield stack


@pytest.fixture(scope="session")
def direct_stack(engine, cookies_session):
    """Start a stack with PostgreSQL and Redis, but without nginx."""
    with stack_with(cookies_session, FULL | {"use_nginx": False}, "direct", 8181) as stack:
        yield stack


@pytest.fixture(params=["full_stack", "direct_stack"], ids=["nginx", "direct"])
def either_stack(request):
    """Return a stack with nginx, and one without."""
    return request.getfixturevalue(request.param)


def each_stack():
    """Return all combinations of services: in `make test`, all, PostgreSQL, and none."""
    for options in COMBINATIONS:
        chosen = [service for service in SERVICES if options[service]]
        weekly = len(chosen) == 2 or chosen in (["use_redis"], ["use_nginx"])
        marks = [pytest.mark.weekly] if weekly else []
        yield pytest.param(options, id=name_of(options), marks=marks)


@pytest.fixture(scope="session", params=each_stack())
def stack(request, engine, cookies_session):
    """Start the production stack of a combination, as generated."""
    name = name_of(request.param)
    with temporary_stack(cookies_session, request.param, f"stack-{name}", 8182) as stack:
        begun = time.monotonic()
        stack.up()
        report(f"{name}: healthy after {time.monotonic() - begun:.1f} s")
        yield stack
