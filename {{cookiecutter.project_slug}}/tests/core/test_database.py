import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from inspect import iscoroutinefunction
from time import monotonic

import pytest
from flask import Flask
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, func, select, text
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from {{ cookiecutter.project_slug }}.core.database import UTCDateTime, db, engine_options

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

metadata = MetaData()
columns = Column("id", Integer, primary_key=True), Column("time", UTCDateTime)
events = Table("test_events", metadata, *columns)
guests = Table("test_guests", metadata, Column("event_id", ForeignKey(events.c.id)))


@pytest.fixture
def app(app: Flask) -> Iterator[Flask]:
    """Create tables."""
    with app.app_context():
        metadata.create_all(db.engine)
    yield app
    with app.app_context():
        metadata.drop_all(db.engine)


def test_only_committed_changes_are_stored(app: Flask) -> None:
    counts = []
    for end in ("flush", "commit"):
        with app.app_context():
            db.session.execute(events.insert().values(time=NOON))
            getattr(db.session, end)()
        with app.app_context():
            counts.append(db.session.scalar(select(func.count()).select_from(events)))

    assert counts == [0, 1]


def test_request_starts_no_event_loop(app: Flask) -> None:
    assert set(map(iscoroutinefunction, app.teardown_appcontext_funcs)) == {False}


def test_foreign_keys_are_enforced(app: Flask) -> None:
    with app.app_context(), pytest.raises(IntegrityError):
        db.session.execute(guests.insert().values(event_id=7))


def test_time_is_stored_in_utc_and_needs_a_time_zone(app: Flask) -> None:
    with app.app_context():
        db.session.execute(events.insert().values(time=NOON))
        stored = db.session.execute(select(events.c.time)).scalar_one()

        assert (stored, stored.tzinfo) == (NOON, UTC)
        with pytest.raises(StatementError, match="needs a time zone"):
            db.session.execute(events.insert().values(time=datetime(2026, 1, 1)))


def test_second_database_can_be_configured(make_app: Callable[..., Flask]) -> None:
    with make_app(SQLALCHEMY_ENGINES={"other": "sqlite://"}).app_context():
        assert db.engines.keys() == {"default", "other"}


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, PoolTimeoutError])
def test_unavailable_database_returns_503_and_logs_the_reason(
    app: Flask, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    @app.get("/test")
    def fail() -> str:
        raise error("SELECT", {}, Exception("host db7"))

    response = app.test_client().get("/test", headers={"Accept": "application/json"})

    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert response.headers["Retry-After"] == "5"
    assert "db7" not in response.text
    assert "db7" in caplog.text


def test_readiness_fails_while_the_server_hangs(app: Flask, make_app: Callable[..., Flask]) -> None:
    good = app.test_client().get("/readyz")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql+psycopg://me@127.0.0.1:{server.getsockname()[1]}/mine"
        begin = monotonic()
        bad = make_app(DATABASE_URL=url).test_client().get("/readyz")

    assert monotonic() - begin < 20  # on a busy machine; without a timeout, it takes minutes
    assert bad.status_code == 503
    assert (good.json or {})["checks"]["postgres"] == "ok"
    assert (bad.json or {})["checks"]["postgres"] == "failing"


def test_engine_has_timeouts_and_a_connection_for_each_thread() -> None:
    url = "postgresql+psycopg://me@localhost/mine?options=-csearch_path%3Dtheirs"

    options = engine_options(url, threads=4)

    assert 4 <= options["pool_size"] <= options["pool_size"] + options["max_overflow"] <= 8
    assert options["pool_timeout"] + options["connect_args"]["connect_timeout"] <= 5
    assert options["connect_args"]["tcp_user_timeout"] <= 3_000
    assert "search_path=theirs" in options["connect_args"]["options"]


def test_statements_have_a_timeout_and_closed_connections_are_replaced(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as other:
        if db.engine.dialect.name != "postgresql":
            pytest.skip("SQLite has no server")
        limits = []
        for statement in ("SELECT", "SET LOCAL statement_timeout = '30s'", "COMMIT"):
            db.session.execute(text(statement))
            limits.append(db.session.scalar(text("SHOW statement_timeout")))
        lost = db.session.scalar(text("SELECT pg_backend_pid()"))
        db.session.commit()
        other.execute(text(f"SELECT pg_terminate_backend({lost})"))

        assert limits == ["3s", "30s", "3s"]
        assert db.session.scalar(text("SELECT pg_backend_pid()")) != lost


def test_valid_url_is_required_in_production(problems: Callable[..., dict[str, str]]) -> None:
    assert "DATABASE_URL" not in problems({"APP_ENV": "development"})
    assert "DATABASE_URL" in problems({"APP_ENV": "production"})
    for url in ("", "mysql://a/b", "postgresql://a", "postgresql://a:pass-word@d:x/e"):
        assert "pass-word" not in problems({"DATABASE_URL": url})["DATABASE_URL"]
