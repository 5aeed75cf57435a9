import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from inspect import iscoroutinefunction
from time import monotonic

import pytest
from flask import Flask
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    func,
    select,
)
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.schema import CreateIndex, CreateTable

from {{ cookiecutter.project_slug }}.core.database import Base, UTCDateTime, db

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
        db.session.execute(events.update().values(time=None))
        assert db.session.execute(select(events.c.time)).scalar_one() is None
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

    assert monotonic() - begin < 60  # without a timeout, it takes minutes
    assert bad.status_code == 503
    assert (good.json or {})["checks"]["postgres"] == "ok"
    assert (bad.json or {})["checks"]["postgres"] == "failing"


def test_connection_that_is_lost_after_the_last_query_is_replaced(app: Flask) -> None:
    with app.app_context():
        db.session.execute(events.insert())
        driver = db.session.connection().connection.driver_connection
        assert driver
        driver.close()
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(events)) == 0


def test_constraints_have_names() -> None:
    tables = MetaData(naming_convention=Base.metadata.naming_convention)
    Table("shelves", tables, Column("id", Integer, primary_key=True))
    books = Table(
        "books",
        tables,
        Column("id", Integer, primary_key=True),
        Column("code", Integer, CheckConstraint("code > 0", "positive"), unique=True),
        Column("shelf_id", ForeignKey("shelves.id"), index=True),
    )

    statements = str(CreateTable(books)), *(str(CreateIndex(index)) for index in books.indexes)

    assert set(re.findall(r"(?:CONSTRAINT|INDEX) (\w+)", "".join(statements))) == {
        "ck_books_positive",
        "fk_books_shelf_id_shelves",
        "ix_books_shelf_id",
        "pk_books",
        "uq_books_code",
    }


def test_valid_url_is_required_in_production(problems: Callable[..., dict[str, str]]) -> None:
    assert "DATABASE_URL" not in problems({"APP_ENV": "development"})
    assert "DATABASE_URL" in problems({"APP_ENV": "production"})
    for url in ("", "mysql://a/b", "postgresql://a", "postgresql://a:pass-word@d:x/e"):
        assert "pass-word" not in problems({"DATABASE_URL": url})["DATABASE_URL"]
