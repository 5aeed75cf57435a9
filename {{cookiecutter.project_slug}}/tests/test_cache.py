import socket
from collections.abc import Callable
from itertools import count
from time import monotonic

import pytest
from flask import Flask

from {{ cookiecutter.project_slug }}.cache import cache, invalidate

calls = count()


@cache.memoize()
def call(name: str) -> str:
    """Return a new value, unless one is cached."""
    return f"{name}{next(calls)}"


def test_result_is_cached_for_each_argument_until_invalidated(app: Flask) -> None:
    with app.app_context():
        first, second = call("a"), call("b")
        cached = [call("a"), call("b")]
        invalidate(call)
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
            invalidate(read)
        return found

    with app.app_context():
        assert [read(), read()] == ["old", "new"]


def test_functions_work_without_redis(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    with make_app(REDIS_URL="redis://127.0.0.1:1").app_context():
        first, second = call("a"), call("a")
        invalidate(call)

    assert first != second
    assert "call stays cached for up to a minute: " in caplog.text


def test_readiness_fails_while_redis_hangs(app: Flask, make_app: Callable[..., Flask]) -> None:
    good = app.test_client().get("/readyz")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        begin = monotonic()
        bad = make_app(REDIS_URL=url).test_client().get("/readyz")

    assert monotonic() - begin < 1
    assert bad.status_code == 503
    assert (good.json or {})["checks"]["redis"] == "ok"
    assert (bad.json or {})["checks"]["redis"] == "failing"


def test_valid_url_is_required_in_production(problems: Callable[..., dict[str, str]]) -> None:
    assert "REDIS_URL" not in problems({"APP_ENV": "development"})
    assert "REDIS_URL" in problems({"APP_ENV": "production"})
    for url in ("", "localhost", "http://:pass-word@localhost", "redis:///0"):
        assert "pass-word" not in problems({"REDIS_URL": url})["REDIS_URL"]
