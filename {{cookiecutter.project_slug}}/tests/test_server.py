import http.client
import json
import logging
import math
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from config import gunicorn

ROOT = Path(__file__).parents[1]


def get(port: int, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Connection": "close"})
    return connection.getresponse()


def wait_for(port: int, server: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            return
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


@pytest.fixture
def server() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "GRACEFUL_TIMEOUT": "3",
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "json",
        "PORT": str(port),
        "TRUSTED_HOSTS": "127.0.0.1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn"],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(port, process)
    yield port, process
    process.kill()
    process.communicate()


def test_server_logs_one_json_object_a_line_and_stops_cleanly(
    server: tuple[int, subprocess.Popen[str]],
) -> None:
    port, process = server
    ids = [get(port, path).getheader("X-Request-ID") for path in ("/", "/livez", "/nope?q=1")]
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"NOT HTTP\r\n\r\n")
        refused = raw.recv(100)

    process.send_signal(signal.SIGTERM)
    lines = [json.loads(line) for line in process.communicate(timeout=20)[0].splitlines()]

    requests = [line for line in lines if "status" in line]
    started = lines[: lines.index(requests[0])]
    assert process.returncode == 0
    assert [(r["request_id"], r["method"], r["path"], r["status"]) for r in requests] == [
        (ids[0], "GET", "/", 200),
        (ids[2], "GET", "/nope", 404),
    ]
    assert all(r["duration_ms"] >= 0 and r["remote_addr"] == "127.0.0.1" for r in requests)
    assert refused.startswith(b"HTTP/1.1 400")
    assert any("Invalid request from ip=127.0.0.1" in line["message"] for line in lines)
    assert {line["level"] for line in started} == {"INFO"}
    size = f"workers of {gunicorn.threads} threads"
    assert any(size in line["message"] for line in started)


def health_check() -> object:
    """The exit code of the health check, for the port in the environment."""
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("config.healthcheck")
    return stop.value.code


def test_health_check_of_the_image_asks_the_server(
    server: tuple[int, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, process = server
    monkeypatch.setenv("PORT", str(port))

    monkeypatch.setenv("TRUSTED_HOSTS", "127.0.0.1,other.example")
    right = health_check()
    monkeypatch.setenv("TRUSTED_HOSTS", "other.example")
    refused = health_check()
    process.terminate()
    process.wait()
    down = health_check()

    assert right == 0
    assert refused == 1
    assert down == 1


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [
        ({}, None, math.inf),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, math.inf),
        ({"cpu.max": "50000 100000", "memory.max": "268435456"}, 0.5, 2**28),
        (
            {
                "cpu/cpu.cfs_quota_us": "25000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "134217728",
            },
            0.25,
            2**27,
        ),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            None,
            math.inf,
        ),
    ],
    ids=["none", "v2 unlimited", "v2", "v1", "v1 unlimited"],
)
def test_limits_are_those_of_the_container(
    tmp_path: Path, files: dict[str, str], cpus: float | None, memory: float
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    machine = gunicorn.cpu_limit(tmp_path / "elsewhere")
    assert gunicorn.cpu_limit(tmp_path) == (cpus or machine)
    assert gunicorn.memory_limit(tmp_path) == memory


def test_all_cpus_count_where_the_system_knows_no_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)

    assert gunicorn.cpu_limit(tmp_path) == os.cpu_count()


@pytest.mark.parametrize(
    ("cpus", "memory", "workers"),
    [(0.5, math.inf, 2), (2.5, math.inf, 3), (64, math.inf, 8), (4, 2**28, 2), (4, 2**20, 1)],
)
def test_workers_follow_from_cpus_and_memory(cpus: float, memory: float, workers: int) -> None:
    assert gunicorn.worker_count(cpus, memory) == workers


def test_size_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("gunicorn.error").propagate = True
    caplog.set_level(logging.INFO)

    gunicorn.when_ready(SimpleNamespace())  # type: ignore[arg-type]

    assert "threads each, for" in caplog.text
