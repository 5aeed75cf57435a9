import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from inspect import iscoroutinefunction
from time import monotonic

import pytest
from flask import Flask
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, insert, select, text
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from {{ cookiecutter.project_slug }}.database import db, engine_options
from {{ cookiecutter.project_slug }}.models import UTCDateTime

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

metadata = MetaData()
columns = Column("id", Integer, primary_key=True), Column("time", UTCDateTime)
events = Table("test_events", metadata, *columns)
guests = Table("test_guests", metadata, Column("event_id", ForeignKey(events.c.id)))


@pytest.fixture
def app(app: Flask) -> Iterator[Flask]:
    """Create tables, and a view that counts rows."""
    app.add_url_rule("/events", view_func=lambda: str(len(db.session.execute(select(events)).all())))
    with app.app_context():
        metadata.create_all(db.engine)
    yield app
    with app.app_context():
        metadata.drop_all(db.engine)


@pytest.fixture
def needs_postgres(app: Flask) -> None:
    with app.app_context():
        if db.engine.dialect.name != "postgresql":
            pytest.skip("SQLite has no server")


def test_request_stores_only_what_it_commits(app: Flask) -> None:
    @app.post("/events/<end>")
    def add(end: str) -> str:
        db.session.execute(insert(events).values(time=NOON))
        getattr(db.session, end)()
        return ""

    client = app.test_client()
    counts = []
    for end in ("flush", "rollback", "commit"):
        client.post(f"/events/{end}")
        counts.append(client.get("/events").text)

    assert counts == ["0", "0", "1"]


def test_request_starts_no_event_loop(app: Flask) -> None:
    assert app.teardown_appcontext_funcs
    assert not any(map(iscoroutinefunction, app.teardown_appcontext_funcs))


def test_foreign_keys_are_enforced(app: Flask) -> None:
    with app.app_context(), pytest.raises(IntegrityError):
        db.session.execute(insert(guests).values(event_id=7))


def test_time_is_stored_in_utc_and_needs_a_time_zone(app: Flask) -> None:
    with app.app_context():
        db.session.execute(insert(events).values(time=NOON))
        stored = db.session.execute(select(events.c.time)).scalar_one()

        assert (stored, stored.tzinfo) == (NOON, UTC)
        with pytest.raises(StatementError, match="needs a time zone"):
            db.session.execute(insert(events).values(time=datetime(2026, 1, 1)))


def test_second_database_can_be_configured(make_app: Callable[..., Flask]) -> None:
    with make_app(SQLALCHEMY_ENGINES={"other": "sqlite://"}).app_context():
        assert db.engines.keys() == {"default", "other"}


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, PoolTimeoutError])
def test_unavailable_database_is_a_503_whose_reason_is_logged(
    app: Flask, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    @app.get("/lost")
    def lost() -> str:
        raise error("SELECT", {}, Exception("host db7"))

    response = app.test_client().get("/lost", headers={"Accept": "application/json"})

    assert response.status_code == 503
    assert response.mimetype == "application/problem+json"
    assert response.headers["Retry-After"] == "5"
    assert "db7" not in response.text
    assert "db7" in caplog.text


def test_readiness_includes_a_server_that_hangs(app: Flask, make_app: Callable[..., Flask]) -> None:
    good = app.test_client().get("/readyz")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql+psycopg://me@127.0.0.1:{server.getsockname()[1]}/mine"
        begin = monotonic()
        bad = make_app(DATABASE_URL=url).test_client().get("/readyz")

    assert monotonic() - begin < 5
    assert bad.status_code == 503
    assert (good.json or {})["checks"]["postgres"] == "ok"
    assert (bad.json or {})["checks"]["postgres"] == "failing"


def test_engine_has_limits_and_a_connection_for_each_thread() -> None:
    url = "postgresql+psycopg://me@localhost/mine?options=-csearch_path%3Dtheirs"

    options = engine_options(url, threads=4)

    assert 4 <= options["pool_size"] <= options["pool_size"] + options["max_overflow"] <= 8
    assert options["pool_timeout"] + options["connect_args"]["connect_timeout"] <= 5
    assert options["connect_args"]["tcp_user_timeout"] <= 3_000
    assert "search_path=theirs" in options["connect_args"]["options"]


@pytest.mark.usefixtures("needs_postgres")
def test_transaction_can_change_the_limit_for_statements(app: Flask) -> None:
    limits = []
    with app.app_context():
        for statement in ("SELECT", "SET LOCAL statement_timeout = '30s'", "COMMIT"):
            db.session.execute(text(statement))
            limits.append(db.session.scalar(text("SHOW statement_timeout")))

    assert limits == ["3s", "30s", "3s"]


@pytest.mark.usefixtures("needs_postgres")
def test_lost_connection_is_replaced(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as other:
        process = db.session.scalar(text("SELECT pg_backend_pid()"))
        db.session.commit()
        other.execute(text(f"SELECT pg_terminate_backend({process})"))

    assert app.test_client().get("/events").text == "0"


@pytest.mark.parametrize(
    "url", [None, "", "mysql://localhost/a", "postgresql://localhost", "postgresql://a:b-c@d:x/e"]
)
def test_production_requires_a_valid_url(
    problems: Callable[..., dict[str, str]], url: str | None
) -> None:
    found = problems({"APP_ENV": "production"} | ({} if url is None else {"DATABASE_URL": url}))

    assert "b-c" not in found["DATABASE_URL"]
    assert "DATABASE_URL" not in problems({"APP_ENV": "development"})
