from threading import Event, Thread, current_thread
from time import monotonic

import pytest
from flask import Flask
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }} import health


def fail() -> None:
    raise ConnectionError("no route to 10.0.0.1")


@pytest.fixture
def app(app: Flask) -> Flask:
    app.extensions["health"].clear()
    health.add_check(app, "good", lambda: None)
    return app


def test_livez_asks_nobody(app: Flask, client: FlaskClient) -> None:
    health.add_check(app, "bad", fail)

    response = client.get("/livez")

    assert response.status_code == 200
    assert response.json == {"status": "ok"}


def test_readyz_names_what_it_asked(client: FlaskClient) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json == {"status": "ok", "checks": {"good": "ok"}}


def test_check_that_gives_up_by_itself_needs_no_thread(app: Flask, client: FlaskClient) -> None:
    threads: list[Thread] = []
    health.add_check(app, "brief", lambda: threads.append(current_thread()), gives_up=True)

    assert client.get("/readyz").json == {"status": "ok", "checks": {"good": "ok", "brief": "ok"}}
    assert threads == [current_thread()]


@pytest.mark.parametrize("gives_up", [False, True])
def test_readyz_says_what_fails_and_only_the_log_why(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture, gives_up: bool
) -> None:
    health.add_check(app, "bad", fail, gives_up=gives_up)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json == {"status": "failing", "checks": {"good": "ok", "bad": "failing"}}
    assert "bad is not ready: no route to 10.0.0.1" in caplog.messages


def test_readyz_does_not_wait_for_what_hangs(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.1)
    release = Event()
    health.add_check(app, "slow", release.wait)
    health.add_check(app, "slower", release.wait)

    start = monotonic()
    first, second = client.get("/readyz"), client.get("/readyz")
    took = monotonic() - start
    release.set()

    assert first.status_code == second.status_code == 503
    assert first.json is not None
    assert first.json["checks"] == {"good": "ok", "slow": "failing", "slower": "failing"}
    assert took < 1


def test_probe_passes_no_hook_of_the_service(app: Flask, client: FlaskClient) -> None:
    app.before_request(lambda: ("log in first", 401))

    assert client.get("/").status_code == 401
    for path in health.PROBES:
        assert client.get(path).status_code == client.head(path).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probe_answers_to_head_without_a_body(client: FlaskClient, path: str) -> None:
    response = client.head(path)

    assert (response.status_code, response.data) == (200, b"")


def test_service_that_is_lost_is_away_until_it_answers(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PAUSE", 0.01)
    caplog.set_level("INFO")
    asked, back = Event(), Event()

    def ask() -> None:
        asked.set()
        if not back.is_set():
            fail()

    check = health.add_check(app, "absent", ask)
    check.lost()
    check.lost()
    asked.wait(5)
    away = check.away
    response = app.test_client().get("/readyz")
    back.set()
    if check.watcher:
        check.watcher.join(5)

    assert away
    assert (response.json or {})["checks"]["absent"] == "failing"
    assert "absent is not ready: absent did not answer just now" in caplog.messages
    assert not check.away
    assert caplog.messages.count("absent answers again") == 1
