"""A run of the tests that is interrupted leaves nothing in Docker."""

import signal
import subprocess
import sys

import pytest
from projects import ENVIRONMENT, TEMPLATE, run
from stacks import wait_for

pytestmark = [
    pytest.mark.docker,
    pytest.mark.faults,
    pytest.mark.xdist_group("docker-untimed"),
    pytest.mark.weekly,
]
APART = {"TRIAL": "interrupted", "TRIAL_PORTS": "500"}
BARE = "tests/running/test_hardening.py::test_every_service_is_hardened[bare]"


def in_docker():
    """Return the containers, networks and volumes of the interrupted run."""
    listed = [
        run("docker", *command.split(), "--format={{.Name}}", cwd=TEMPLATE).stdout
        for command in ("network ls", "volume ls")
    ]
    listed.append(run("docker", "ps", "--all", "--format={{.Names}}", cwd=TEMPLATE).stdout)
    return [name for name in "\n".join(listed).split() if name.startswith("trialinterrupted-")]


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_interrupted_run_leaves_no_containers(engine, number):
    pytest_of_two = [sys.executable, "-m", "pytest", "--numprocesses=2", BARE]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(
        pytest_of_two,
        cwd=TEMPLATE,
        env=ENVIRONMENT | APART,
        # Programs ignore Ctrl-C if the tests run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **quiet,
    ) as tests:
        wait_for(in_docker, 120)
        tests.send_signal(getattr(signal, number))
    if number == "SIGKILL":
        next_run = [sys.executable, "-m", "pytest", "--collect-only", "-q", BARE]
        wait_for(lambda: run(*next_run, cwd=TEMPLATE, **APART) and not in_docker(), 60)

    assert in_docker() == []
    assert tests.returncode in (2, -9)
