import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from config import gunicorn

ROOT = Path(__file__).parents[1]
SETTINGS = {"LOG_LEVEL": "INFO", "LOG_FORMAT": "json", "TRUSTED_HOSTS": "127.0.0.1"}
SETTINGS |= {"FLASK_DEBUG": "0", "TRUSTED_PROXIES": "0", "WEB_CONCURRENCY": "1"}


def get(port: int, path: str, **headers: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Connection": "close", **headers})
    return connection.getresponse()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Start a server, return its port and its log, and check that it stops without an error."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn"]
    env = os.environ | SETTINGS | {"PORT": str(port)}
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
    while process.poll() is None:
        try:
            get(port, "/livez")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    yield port, log
    process.terminate()
    assert process.wait(timeout=60) == 0, log.read_text()


def test_log_consists_of_json_objects(server: tuple[int, Path]) -> None:
    port, log = server
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"NOT HTTP\r\n\r\n")
        rejected = connection.recv(100)
    request_id = get(port, "/nope?q=1").headers["X-Request-ID"]

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["path"] for line in lines if line.get("request_id") == request_id] == ["/nope"]
    assert any("Invalid request from ip=127.0.0.1" in line["message"] for line in lines)
    assert rejected.startswith(b"HTTP/1.1 400")


def test_client_on_the_same_host_is_not_a_trusted_proxy(server: tuple[int, Path]) -> None:
    forged = {"SCRIPT_NAME": "/evil", "X-Forwarded-Proto": "https"}

    with get(server[0], "/nope", **forged) as response:
        page = response.read().decode()

    assert 'href="/static/' in page
    assert '"/evil' not in page
    assert "Strict-Transport-Security" not in response.headers


@pytest.mark.parametrize(("hosts", "code"), [("127.0.0.1,a.example", 0), ("a.example", 1)])
def test_health_check_of_the_image(server: tuple[int, Path], hosts: str, code: int) -> None:
    env = os.environ | {"PORT": str(server[0]), "TRUSTED_HOSTS": hosts}
    check = [sys.executable, "bin/healthcheck"]

    done = subprocess.run(check, cwd=ROOT, env=env, capture_output=True)

    assert done.returncode == code


def test_cpu_limit_of_the_container_is_used(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"

    assert gunicorn.cpu_limit(file) == os.cpu_count()
    for limit, cpus in (("max 100000", os.cpu_count()), ("50000 100000", 1), ("150000 100000", 2)):
        file.write_text(f"{limit}\n")
        assert gunicorn.cpu_limit(file) == cpus
