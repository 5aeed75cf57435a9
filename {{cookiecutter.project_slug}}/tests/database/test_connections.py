import socket
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from {{ cookiecutter.project_slug }} import health
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


@pytest.fixture
def needs_postgres(database_url: str) -> None:
    if make_url(database_url).get_backend_name() != "postgresql":
        pytest.skip("SQLite does not hang, and is not lost")


@pytest.mark.usefixtures("needs_postgres")
def test_query_that_is_not_answered_is_given_up(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT", 0.2)

    begun = time.monotonic()
    with (
        app.app_context(),
        db.engine.connect() as connection,
        pytest.raises(OperationalError, match="no answer within"),
    ):
        connection.execute(LONG)

    assert time.monotonic() - begun < 1
    time.sleep(health.PAUSE)
    assert app.test_client().get("/notes").status_code == 200


@pytest.mark.usefixtures("needs_postgres")
def test_connection_that_is_lost_after_the_answer_does_not_spoil_it(app: Flask) -> None:
    with app.app_context():
        [(process,)] = db.session.execute(text("SELECT pg_backend_pid()"))
        with db.engine.connect() as other:
            other.execute(text(f"SELECT pg_terminate_backend({process})"))
        time.sleep(0.1)

    assert app.test_client().get("/notes").status_code == 200
