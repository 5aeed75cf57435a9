import socket
from collections.abc import Callable
from itertools import count
from time import monotonic

import pytest
from flask import Flask

from {{ cookiecutter.project_slug }}.cache import cache, invalidate

CLOSED = "redis://127.0.0.1:1/0"

calls = count()


@cache.memoize()
def call(name: str) -> str:
    """Return something new, unless it is cached."""
    return f"{name}{next(calls)}"


def test_result_is_cached_for_each_set_of_arguments_until_a_write(app: Flask) -> None:
    with app.app_context():
        first, second = call("a"), call("b")
        cached = [call("a"), call("b")]
        invalidate(call)
        later = [call("a"), call("b")]

    assert cached == [first, second]
    assert not {first, second} & set(later)


def test_write_during_a_read_is_not_lost(app: Flask) -> None:
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


def test_requests_go_on_without_redis(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(REDIS_URL=CLOSED)

    @app.route("/test/call", methods=["GET", "POST"])
    def write() -> str:
        invalidate(call)
        return call("a")

    client = app.test_client()
    responses = [client.get("/test/call"), client.post("/test/call")]

    assert [response.status_code for response in responses] == [200, 200]
    assert responses[0].text != responses[1].text
    assert "call stays cached for up to a minute: " in caplog.text


def test_redis_that_hangs_delays_for_less_than_a_second(make_app: Callable[..., Flask]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        app = make_app(REDIS_URL=f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        begin = monotonic()
        with app.app_context():
            call("a")

    assert monotonic() - begin < 1


def test_readiness_includes_redis(app: Flask, make_app: Callable[..., Flask]) -> None:
    good = app.test_client().get("/readyz")
    bad = make_app(REDIS_URL=CLOSED).test_client().get("/readyz")

    assert (good.json or {})["checks"]["redis"] == "ok"
    assert (bad.json or {})["checks"]["redis"] == "failing"
    assert bad.status_code == 503


@pytest.mark.parametrize("url", [None, "", "localhost", "http://:pass-word@localhost", "redis:///"])
def test_production_requires_a_valid_url(
    problems: Callable[..., dict[str, str]], url: str | None
) -> None:
    found = problems({"APP_ENV": "production"} | ({} if url is None else {"REDIS_URL": url}))

    assert "pass-word" not in found["REDIS_URL"]
    assert "REDIS_URL" not in problems({"APP_ENV": "development"})
