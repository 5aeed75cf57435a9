import os
import runpy
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest
from flask import Blueprint, Flask, Response, request
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from {{ cookiecutter.project_slug }} import cache, health


def counter() -> Blueprint:
    """A resource that tells how often its views were asked."""
    bp = Blueprint("counter", __name__, url_prefix="/counter")
    asked = count(1)

    def read() -> ResponseReturnValue:
        headers = {"Link": "</counter>", "Content-Type": "text/plain", **request.args}
        return str(next(asked)), headers

    def fail() -> ResponseReturnValue:
        return str(next(asked)), 500

    def write(status: int) -> ResponseReturnValue:
        return "", status

    bp.get("")(read)
    bp.get("/broken")(fail)
    bp.post("/<int:status>")(write)
    return bp


def small_app(url: str | None) -> Flask:
    app = Flask("{{ cookiecutter.project_slug }}")
    app.config.update(TESTING=True, REDIS_URL=url)
    health.init_app(app)
    bp = counter()
    cache.init_app(app, bp)
    app.register_blueprint(bp)
    return app


@pytest.fixture
def app() -> Flask:
    """An application on the server that the environment names, or in this process."""
    return small_app(os.environ.get("REDIS_URL"))


class Hanging(cache.InProcess):
    """A server that answers until it hangs; ``calls`` counts those that it did not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.calls = 0

    def hang(self) -> None:
        if self.hangs:
            self.calls += 1
            raise RedisTimeoutError("Timeout reading from socket")

    def ping(self) -> bool:
        if self.hangs:
            raise RedisTimeoutError("Timeout reading from socket")
        return True

    def mget(self, *keys: str) -> list[bytes | None]:
        self.hang()
        return super().mget(*keys)

    def set(self, key: str, value: bytes, ex: int) -> bool:
        self.hang()
        return super().set(key, value, ex)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    server = Hanging()
    monkeypatch.setattr(cache, "connect", lambda url: server)
    monkeypatch.setattr(health, "PAUSE", 0.01)
    yield server
    server.hangs = False
    for thread in threading.enumerate():  # no other test shall see its lines
        if thread.name == "watch-redis":
            thread.join(5)


def test_answer_is_kept_with_its_headers(client: FlaskClient) -> None:
    first, second = client.get("/counter"), client.get("/counter")

    assert (first.text, second.text) == ("1", "1")
    assert second.headers["Link"] == first.headers["Link"]
    assert second.content_type == first.content_type
    assert second.headers.getlist("Content-Length") == ["1"]
    assert second.headers["X-Cache"] == "hit"


def test_answer_belongs_to_its_query(client: FlaskClient) -> None:
    assert [client.get(f"/counter?page={n}").text for n in (1, 2, 1)] == ["1", "2", "1"]


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
def test_who_says_who_he_is_gets_an_answer_of_his_own(app: Flask, header: str) -> None:
    client = app.test_client(use_cookies=False)  # it would set the header itself
    personal = {header: "session=me"}

    assert client.get("/counter", headers=personal).text == "1"
    assert [client.get("/counter").text for _ in range(2)] == ["2", "2"]
    assert client.get("/counter", headers=personal).text == "3"


@pytest.mark.parametrize("header", ["cache-control", "Set-Cookie"])
def test_answer_that_is_for_one_client_is_not_kept(client: FlaskClient, header: str) -> None:
    assert [client.get(f"/counter?{header}=private").text for _ in range(2)] == ["1", "2"]


def test_login_of_the_blueprint_comes_first(app: Flask) -> None:
    bp = Blueprint("closed", __name__, url_prefix="/closed")
    bp.before_request(lambda: None if "open" in app.config else ("", 401))
    bp.get("")(lambda: "secret")
    cache.init_app(app, bp)
    app.register_blueprint(bp)
    client = app.test_client()

    app.config["open"] = True
    assert [client.get("/closed").headers.get("X-Cache") for _ in range(2)] == [None, "hit"]
    del app.config["open"]
    assert client.get("/closed").status_code == 401


def test_error_is_not_kept(client: FlaskClient) -> None:
    assert [client.get("/counter/broken").text for _ in range(2)] == ["1", "2"]


def test_write_makes_answers_outdated(client: FlaskClient) -> None:
    before = client.get("/counter").text
    client.post("/counter/201")

    assert (before, client.get("/counter").text) == ("1", "2")


def test_refused_write_changes_nothing(client: FlaskClient) -> None:
    before = client.get("/counter").text
    client.post("/counter/422")

    assert client.get("/counter").text == before


def test_write_during_the_making_of_an_answer_is_not_lost(app: Flask) -> None:
    reader, writer = app.test_client(), app.test_client()

    with app.test_request_context("/counter"):
        app.preprocess_request()
        writer.post("/counter/201")
        app.process_response(Response("outdated"))

    assert reader.get("/counter").text != "outdated"


def test_server_that_hangs_costs_one_wait_and_no_error(
    hanging: Hanging, client: FlaskClient
) -> None:
    hanging.hangs = True

    answers = [client.get("/counter") for _ in range(3)]

    hanging.hangs = False
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert hanging.calls == 1


def test_write_that_the_server_missed_still_counts(hanging: Hanging, client: FlaskClient) -> None:
    before = client.get("/counter").text
    hanging.hangs = True
    written = client.post("/counter/201").status_code
    hanging.hangs = False
    [check] = client.application.extensions["health"]
    if check.watcher:
        check.watcher.join(5)

    assert (before, written, client.get("/counter").text) == ("1", 201, "2")


def test_readiness_includes_the_server(client: FlaskClient) -> None:
    assert client.get("/readyz").json == {"status": "ok", "checks": {"redis": "ok"}}


def test_client_gives_up_soon_and_does_not_try_again() -> None:
    client = cache.connect("redis://127.0.0.1:1/0")

    assert isinstance(client, Redis)
    options = client.connection_pool.connection_kwargs
    assert options["socket_timeout"] + options["socket_connect_timeout"] <= 1
    assert options["retry"].get_retries() == 0


def test_server_that_is_down_is_not_ready() -> None:
    response = small_app("redis://127.0.0.1:1/0").test_client().get("/readyz")

    assert response.status_code == 503
    assert response.json == {"status": "failing", "checks": {"redis": "failing"}}


def test_production_has_to_be_told_where_the_server_is() -> None:
    settings = Path(__file__).parents[1] / "config/settings.py"

    with (
        patch.dict(os.environ, {"APP_ENV": "production"}, clear=True),
        pytest.raises(SystemExit, match="REDIS_URL: "),
    ):
        runpy.run_path(str(settings))
