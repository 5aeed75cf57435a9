import pickle
import re
import socket
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import redis
from flask import Flask

from {{ cookiecutter.project_slug }}.core import cache as caching
from {{ cookiecutter.project_slug }}.core.cache import cache

calls = count()


class Touch:
    """An object whose pickle creates a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@cache.memoize()
def call(name: str) -> str:
    """Return a new value, unless one is cached."""
    return f"{name}{next(calls)}"


def test_result_is_cached_for_each_argument_until_invalidated(app: Flask) -> None:
    with app.app_context():
        first, second = call("a"), call("b")
        cached = [call("a"), call("b")]
        caching.invalidate(call)
        later = {call("a"), call("b")}

    assert cached == [first, second]
    assert not later & {first, second}


def test_invalidation_during_a_call_is_effective(app: Flask) -> None:
    values = ["old"]

    @cache.memoize()
    def read() -> str:
        found = values[-1]
        if found == "old":
            values.append("new")
            caching.invalidate(read)
        return found

    with app.app_context():
        assert [read(), read()] == ["old", "new"]


def test_request_logs_once_that_redis_is_away(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(REDIS_URL="redis://127.0.0.1:1")

    @app.get("/test")
    def view() -> list[str]:
        first, second = call("a"), call("a")
        caching.invalidate(call)
        return [first, second]

    texts = [app.test_client().get("/test").text for _ in range(2)]

    assert len(set(re.findall(r"a\d+", "".join(texts)))) == 4
    lines = [record for record in caplog.records if "cache failed" in record.getMessage()]
    assert [line.exc_info for line in lines] == [None, None]
    assert "Traceback" not in caplog.text


def full(server: socket.socket) -> list[socket.socket]:
    """Fill the backlog of a server that accepts no connection, so that the next one waits."""
    clients = [socket.socket() for _ in range(4)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(server.getsockname())
    return clients


@pytest.mark.parametrize("fill", [lambda _: [], full], ids=["no reply", "no connection"])
def test_readiness_fails_while_redis_hangs(
    app: Flask, make_app: Callable[..., Flask], fill: Callable[..., list[socket.socket]]
) -> None:
    good = app.test_client().get("/readyz")
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        clients = fill(server)
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        client = make_app(REDIS_URL=url).test_client()
        begin = monotonic()
        bad = client.get("/readyz")
        took = monotonic() - begin
        for waiting in clients:
            waiting.close()

    assert took < 10  # with the defaults of redis-py, 14
    assert bad.status_code == 503
    assert (good.json or {})["checks"]["redis"] == "ok"
    assert (bad.json or {})["checks"]["redis"] == "failing"


@pytest.mark.parametrize("stored", [b"", b"\x80\x05.", b"!\x80", b"{", b"[" * 99_999, b"\xff"])
def test_value_that_is_not_json_is_ignored(stored: bytes) -> None:
    serializer = caching.JSONSerializer()

    assert serializer.loads(stored) is None
    assert serializer.loads(serializer.dumps({"ü": [1, None]})) == {"ü": [1, None]}


def test_value_in_redis_runs_no_code(app: Flask, tmp_path: Path) -> None:
    if not app.config["REDIS_URL"]:
        pytest.skip("needs Redis")
    client = redis.from_url(app.config["REDIS_URL"])
    pickled = b"!" + pickle.dumps(Touch(tmp_path / "ran"))

    with app.app_context():
        first = call("a")
        keys = list(client.scan_iter(f"{app.config['CACHE_KEY_PREFIX']}*"))
        for key in keys:
            client.set(key, pickled)
        later = [call("a"), call("a")]

    assert len(keys) == 2  # of the value, and of the version of the function
    assert later[0] == later[1] != first
    assert not (tmp_path / "ran").exists()
    client.close()
