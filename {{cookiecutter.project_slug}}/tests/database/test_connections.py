import socket
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from flask import Flask
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from {{ cookiecutter.project_slug }}.database import connections, db

LONG = text("SELECT pg_sleep(10)")


@pytest.fixture
def hung_server() -> Iterator[str]:
    """The URL of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql+psycopg://me@127.0.0.1:{listener.getsockname()[1]}/mine"


def timed_get(app: Flask, path: str) -> tuple[int, float]:
    begun = time.monotonic()
    status = app.test_client().get(path).status_code
    return status, time.monotonic() - begun


def test_server_that_hangs_is_waited_for_once(
    make_app: Callable[..., Flask], hung_server: str
) -> None:
    app = make_app(DATABASE_URL=hung_server)

    first, second = timed_get(app, "/notes"), timed_get(app, "/notes")

    assert (first[0], second[0]) == (503, 503)
    assert first[1] < connections.CONNECT_TIMEOUT + 0.5
    assert second[1] < 0.5


def test_server_that_hung_is_asked_again_by_one_request_at_a_time() -> None:
    outage = connections.Outage()
    outage.begin()
    outage.next_try = time.monotonic()

    outage.let_pass()

    with pytest.raises(psycopg.OperationalError):
        outage.let_pass()
    outage.end()
    outage.let_pass()
    outage.let_pass()


def test_query_that_is_not_answered_is_given_up(
    app: Flask, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if make_url(database_url).get_backend_name() != "postgresql":
        pytest.skip("SQLite does not hang")
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr(connections, "PAUSE", 0.2)

    begun = time.monotonic()
    with (
        app.app_context(),
        db.engine.connect() as connection,
        pytest.raises(OperationalError, match="no answer within"),
    ):
        connection.execute(LONG)

    assert time.monotonic() - begun < 1
    assert app.test_client().get("/notes").status_code == 503
    time.sleep(0.3)
    assert app.test_client().get("/notes").status_code == 200
