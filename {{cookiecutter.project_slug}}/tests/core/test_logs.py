import json
import logging
import re
from collections.abc import Callable, Iterator
from time import perf_counter, sleep
from typing import Any

import pytest
from flask import Flask, Response, abort, request, stream_with_context
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }}.core import health, logs

Output = Callable[[], list[str]]

shop = logging.getLogger("shop")


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Iterator[Output]:
    """Return the lines on STDOUT, and restore logging after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    yield lambda: capsys.readouterr().out.splitlines()
    root.handlers = handlers
    root.setLevel(level)


def test_json_line_is_one_object(make_app: Callable[..., Flask], output: Output) -> None:
    make_app(LOG_FORMAT="json", LOG_LEVEL="ERROR", TESTING=False)

    shop.warning("below the level")
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        shop.exception("sold %d\nof %s", 3, '"these"', extra={"customer": 7})

    [line] = map(json.loads, output())
    assert next(iter(line)) == "time"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", line["time"])
    assert (line["level"], line["logger"], line["customer"]) == ("ERROR", "shop", 7)
    assert line["message"] == 'sold 3\nof "these"'
    assert "ValueError: one\ntwo" in line["exc_info"]


def test_client_cannot_forge_console_lines(app: Flask, client: FlaskClient, output: Output) -> None:
    @app.before_request
    def before() -> None:
        logs.add_fields(agent=request.args["agent"])
        shop.info("hello %s", request.args["agent"])

    logs.configure("INFO", "console")
    client.get("/%0a%0d%E2%80%A812:00:00 INFO forged?agent=a%0ab%1b[2J%C2%85")

    message, request_line = output()
    assert " INFO     shop: hello a\\nb\\x1b[2J\\x85 request_id=" in message
    assert ": GET /%0A%0D%E2%80%A812%3A00%3A00%20INFO%20forged 404 " in request_line
    assert " agent=a\\nb\\x1b[2J\\x85" in request_line


def test_request_is_logged_with_its_fields(app: Flask, client: FlaskClient, output: Output) -> None:
    def stream() -> Iterator[str]:
        shop.info("streaming")
        yield "sold"

    def sell() -> Response:
        sleep(0.05)
        logs.add_fields(customer=7, name="Ada")
        return Response(stream_with_context(stream()), headers={"X-Request-ID": "of-the-view"})

    app.add_url_rule("/tést", view_func=sell)
    logs.configure("INFO", "json")
    begin = perf_counter()
    response = client.get("/tést?q=1")
    took = perf_counter() - begin

    line, streaming = map(json.loads, output())
    fields = ("method", "path", "status", "remote_addr", "customer", "name_")
    assert [line[field] for field in fields] == ["GET", "/tést", 200, "127.0.0.1", 7, "Ada"]
    assert 50 <= line["duration_ms"] <= 1000 * took
    assert line["request_id"] == streaming["request_id"] != "of-the-view"
    assert response.headers.getlist("X-Request-ID") == [line["request_id"]]


def test_only_failed_probes_are_logged(app: Flask, client: FlaskClient, output: Output) -> None:
    app.extensions["health"] = {}
    logs.configure("INFO", "json")
    client.get("/readyz")
    health.add_check(app, "bad", lambda: 1 / 0)
    client.get("/readyz")

    reason, line = map(json.loads, output())
    assert reason["message"] == "bad is not ready: division by zero"
    assert line["message"] == "GET /readyz 503"
    assert reason["request_id"] == line["request_id"]


def test_request_that_a_url_preprocessor_refuses_is_logged(app: Flask, output: Output) -> None:
    logs.configure("INFO", "console")

    @app.url_value_preprocessor
    def refuse(endpoint: str | None, values: dict[str, Any] | None) -> None:
        abort(404)

    response = app.test_client().get("/orders")

    assert response.status_code == 404
    [line] = output()
    begin, _, fields = line.partition("GET /orders 404 ")
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO     \S+: ", begin)
    assert begin.endswith(" {{ cookiecutter.project_slug }}.requests: ")
    assert re.sub("=[^ ]+", "", fields) == "duration_ms remote_addr request_id"
    assert f"request_id={response.headers['X-Request-ID']}" in fields


def test_line_outside_of_a_request_has_no_request_id(app: Flask, output: Output) -> None:
    logs.configure("INFO", "json")
    with app.app_context():
        shop.info("a command")

    [line] = map(json.loads, output())
    assert line["message"] == "a command"
    assert "request_id" not in line


def test_development_server_does_not_log_requests_again(app: Flask, output: Output) -> None:
    logs.configure("INFO", "json")
    logging.getLogger("werkzeug").info("GET /")

    assert output() == []
