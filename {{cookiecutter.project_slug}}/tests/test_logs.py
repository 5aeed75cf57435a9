import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from flask import Flask, stream_with_context
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }} import health, logs


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().out
    root.handlers, root.level = handlers, level


def test_line_is_a_json_object(output: Callable[[], str]) -> None:
    logs.configure("INFO", "json")

    logging.getLogger("shop").warning("sold %d\nof %s", 3, '"these"', extra={"customer": 7})

    line = json.loads(output())
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert line == {
        "level": "WARNING",
        "logger": "shop",
        "message": 'sold 3\nof "these"',
        "customer": 7,
    }


def test_traceback_stays_on_its_line(output: Callable[[], str]) -> None:
    logs.configure("INFO", "json")

    try:
        raise ValueError("one\ntwo")
    except ValueError:
        logging.getLogger("shop").exception("cannot sell")

    [line] = output().splitlines()
    assert "ValueError: one\ntwo" in json.loads(line)["traceback"]


def test_line_for_people_is_text(output: Callable[[], str]) -> None:
    logs.configure("INFO", "console")

    logging.getLogger("shop").info("open")
    logging.getLogger("shop").debug("the level is too low for this")

    assert output().endswith(" INFO     shop: open\n")


def test_line_names_its_request(output: Callable[[], str], make_app: Callable[..., Flask]) -> None:
    app = make_app()
    logs.configure("INFO", "json")

    @app.get("/sell")
    def sell() -> str:
        logging.getLogger("shop").info("sold")
        return "sold"

    response = app.test_client().get("/sell")

    lines = [json.loads(line) for line in output().splitlines()]
    assert [line["logger"].rpartition(".")[2] for line in lines] == ["shop", "requests"]
    assert {line["request_id"] for line in lines} == {response.headers["X-Request-ID"]}


def test_line_names_its_request_while_the_answer_is_streamed(
    output: Callable[[], str], make_app: Callable[..., Flask]
) -> None:
    app = make_app()
    logs.configure("INFO", "json")

    def sold() -> Iterator[str]:
        logging.getLogger("shop").info("sold")
        yield "sold"

    app.add_url_rule("/sell", view_func=lambda: app.response_class(stream_with_context(sold())))

    response = app.test_client().get("/sell", buffered=True)

    lines = [json.loads(line) for line in output().splitlines()]
    assert [line.get("request_id") for line in lines if line["message"] == "sold"] == [
        response.headers["X-Request-ID"]
    ]


def test_view_cannot_give_another_id(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/own", view_func=lambda: ("", {"x-request-id": "mine-mine"}))

    assert len(client.get("/own").headers.getlist("X-Request-ID")) == 1
    assert client.get("/own").headers["X-Request-ID"] != "mine-mine"


def test_request_is_logged_when_it_is_answered(
    output: Callable[[], str], make_app: Callable[..., Flask]
) -> None:
    app = make_app()
    logs.configure("INFO", "json")

    app.test_client().get("/né?q=1")

    line = json.loads(output())
    assert line["duration_ms"] > 0
    fields = ("method", "path", "status", "remote_addr")
    assert [line[field] for field in fields] == ["GET", "/né", 404, "127.0.0.1"]


@pytest.mark.parametrize(("fails", "logged"), [(False, 0), (True, 1)])
def test_probe_is_logged_only_when_it_fails(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, fails: bool, logged: int
) -> None:
    app = make_app()
    app.extensions["health"].clear()
    if fails:
        health.add_check(app, "bad", lambda: 1 / 0)
    caplog.set_level(logging.INFO)

    app.test_client().get("/readyz")

    assert len([record for record in caplog.records if record.name.endswith("requests")]) == logged


def test_line_names_its_probe(output: Callable[[], str], make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.extensions["health"].clear()
    health.add_check(app, "bad", lambda: 1 / 0)
    logs.configure("INFO", "json")

    response = app.test_client().get("/readyz")

    lines = [json.loads(line) for line in output().splitlines()]
    assert [line["message"].partition(" in ")[0] for line in lines] == [
        "bad is not ready: division by zero",
        "GET /readyz 503",
    ]
    assert {line["request_id"] for line in lines} == {response.headers["X-Request-ID"]}


def test_application_logs_as_its_settings_say(
    output: Callable[[], str], make_app: Callable[..., Flask]
) -> None:
    make_app(TESTING=False, LOG_LEVEL="ERROR", LOG_FORMAT="json")

    logging.getLogger("shop").warning("not this")
    logging.getLogger("shop").error("this")

    assert json.loads(output())["message"] == "this"
