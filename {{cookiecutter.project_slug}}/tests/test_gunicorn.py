"""The settings with which gunicorn starts, as it prints them itself."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config import gunicorn

ROOT = Path(__file__).parents[1]
GUNICORN = [sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn"]
SETTINGS = {"PORT": "9123", "WEB_CONCURRENCY": "3", "WEB_THREADS": "5", "GRACEFUL_TIMEOUT": "7"}
WITH_SETTINGS = {
    "bind": "['0.0.0.0:9123']",
    "control_socket_disable": "True",
    "forwarded_allow_ips": "[]",
    "forwarder_headers": "[]",
    "graceful_timeout": "7",
    "keepalive": "75",
    "preload_app": "True",
    "proxy_protocol": "off",
    "reload": "False",
    "secure_scheme_headers": "{}",
    "threads": "5",
    "worker_class": "gthread",
    "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else "None",
    "workers": "3",
}
IN_DEBUG_MODE = {"keepalive": "0", "preload_app": "False", "reload": "True", "workers": "1"}


def configuration(environment: dict[str, str]) -> dict[str, str]:
    """Return the settings with which gunicorn would start."""
    command = [*GUNICORN, "--print-config", "json:loads"]  # an application that is loaded at once
    output = subprocess.check_output(command, cwd=ROOT, env=environment, text=True)
    lines = (line.partition("=") for line in output.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def test_server_has_the_settings_of_the_environment(production: dict[str, str]) -> None:
    values = configuration(production | SETTINGS)

    assert {name: values[name] for name in WITH_SETTINGS} == WITH_SETTINGS


def test_defaults_of_the_server(production: dict[str, str]) -> None:
    values = configuration(production)

    assert (values["bind"], values["threads"]) == ("['0.0.0.0:8000']", "8")
    assert values["graceful_timeout"] == "30"
    assert values["workers"] == str(max(2, gunicorn.cpu_limit()))


def test_server_reloads_in_debug_mode() -> None:
    values = configuration({"APP_ENV": "development", "SECRET_KEY": "short", "FLASK_DEBUG": "1"})

    assert {name: values[name] for name in IN_DEBUG_MODE} == IN_DEBUG_MODE


def test_cpu_limit_of_the_container_is_used(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"

    assert gunicorn.cpu_limit(file) == os.cpu_count()
    for limit, cpus in (("max 100000", os.cpu_count()), ("50000 100000", 1), ("150000 100000", 2)):
        file.write_text(f"{limit}\n")
        assert gunicorn.cpu_limit(file) == cpus


def test_memory_of_the_workers_is_shared() -> None:
    gunicorn.when_ready(None)
    frozen = gc.get_freeze_count()
    gc.unfreeze()

    assert frozen > 1000


def test_worker_whose_threads_are_all_busy_is_ended_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.gunicorn.busy", set())
    seconds = {}
    for free in (2, 1):
        gunicorn.busy.update(range(gunicorn.threads - free))
        gunicorn.pre_request(None, None)
        seconds[free] = signal.alarm(0)

    assert seconds == {2: 0, 1: gunicorn.HUNG_SECONDS}


def test_worker_goes_on_when_a_thread_is_free_again() -> None:
    signal.alarm(60)
    gunicorn.post_request(None, None, None, None)

    assert signal.alarm(0) == 0
