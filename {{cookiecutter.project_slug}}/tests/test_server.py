import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
GUNICORN = [sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn"]


def get(port: int, path: str, **headers: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Connection": "close", **headers})
    return connection.getresponse()


@pytest.fixture(scope="module")
def server(
    production: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Path]]:
    """Start a server, return its port and its log, and check that it stops without an error."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    env = os.environ | production | {"PORT": str(port), "WEB_CONCURRENCY": "2"}
    env |= {"FLASK_DEBUG": "0", "TRUSTED_PROXIES": "0"}  # in the container, they are set
    with (folder / "log").open("w") as out:
        process = subprocess.Popen(GUNICORN, cwd=ROOT, env=env, stdout=out, stderr=out)
    while process.poll() is None:
        try:
            get(port, "/livez")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    yield port, folder / "log"
    process.terminate()
    assert process.wait(timeout=60) == 0, (folder / "log").read_text()


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_server_runs_the_workers_and_listens_on_all_interfaces(server: tuple[int, Path]) -> None:
    port, log = server
    until = time.monotonic() + 60
    while log.read_text().count("Booting worker") < 2 and time.monotonic() < until:
        time.sleep(0.05)

    messages = [line["message"] for line in lines_of(log)]
    assert sum(message.startswith("Booting worker") for message in messages) == 2
    assert any(message.startswith(f"Listening at: http://0.0.0.0:{port} ") for message in messages)


def test_log_consists_of_json_objects(server: tuple[int, Path]) -> None:
    port, log = server
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"NOT HTTP\r\n\r\n")
        rejected = connection.recv(100)
    request_id = get(port, "/nope?q=1").headers["X-Request-ID"]

    lines = lines_of(log)
    assert [line["path"] for line in lines if line.get("request_id") == request_id] == ["/nope"]
    assert any("Invalid request from ip=127.0.0.1" in line["message"] for line in lines)
    assert rejected.startswith(b"HTTP/1.1 400")


def test_client_on_the_same_host_is_not_a_trusted_proxy(server: tuple[int, Path]) -> None:
    port, log = server
    forged = {"SCRIPT_NAME": "/evil", "X-Forwarded-Proto": "https", "X-Request-ID": "forged-id"}

    headers = get(port, "/evil/livez", **forged).headers

    request_id = headers["X-Request-ID"]
    paths = [line["path"] for line in lines_of(log) if line.get("request_id") == request_id]
    assert paths == ["/evil/livez"]
    assert request_id != "forged-id"
    assert "Strict-Transport-Security" not in headers


@pytest.mark.parametrize(("hosts", "code"), [("127.0.0.1,a.example", 0), ("a.example", 1)])
def test_health_check_of_the_image(server: tuple[int, Path], hosts: str, code: int) -> None:
    env = os.environ | {"PORT": str(server[0]), "TRUSTED_HOSTS": hosts}
    env |= {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    check = [sys.executable, "bin/healthcheck"]

    done = subprocess.run(check, cwd=ROOT, env=env, capture_output=True)

    assert done.returncode == code
