"""PostgreSQL: ``db.session`` for each request, ``flask db`` for migrations, and timeouts."""

from datetime import UTC, datetime
from inspect import iscoroutinefunction
from itertools import filterfalse
from typing import Any

from flask import Flask, current_app
from flask.typing import ResponseReturnValue
from flask_alembic import Alembic
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    Engine,
    MetaData,
    NullPool,
    TypeDecorator,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase
from werkzeug.exceptions import ServiceUnavailable

from . import health

# Timeouts of the server, with the options of postgres; SET LOCAL changes them for one transaction.
TIMEOUTS = "-c statement_timeout=3s -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s"
# Timeouts of libpq in seconds; tcp_user_timeout is in milliseconds:
# https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
LIBPQ = {"connect_timeout": 2, "tcp_user_timeout": 2000}
LIBPQ |= {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2}
MIGRATION_LOCK = 7_165_219  # an arbitrary number, the same in all versions of the service

# Names for constraints, so that migrations can refer to them.
NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

db = SQLAlchemy(session_options={"expire_on_commit": False})


class Base(DeclarativeBase):
    """The base class of all tables."""

    metadata = MetaData(naming_convention=NAMES)


class UTCDateTime(TypeDecorator[datetime]):
    """A time in UTC, even on SQLite, which does not store time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a time without a time zone is an error."""
        if value is None:
            return None
        if not value.tzinfo:
            raise ValueError("a time needs a time zone, such as datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add the time zone."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def init_app(app: Flask) -> None:
    """Create the connection pool, close sessions after requests, and add ``flask db``."""
    main = engine_options(app.config["DATABASE_URL"], app.config["WEB_THREADS"])
    app.config["SQLALCHEMY_ENGINES"] = app.config.get("SQLALCHEMY_ENGINES", {}) | {"default": main}
    db.init_app(app)
    remove_async_teardown(app)
    with app.app_context():
        engine = db.engine
    is_sqlite = engine.dialect.name == "sqlite"
    if is_sqlite:
        event.listen(engine, "connect", enforce_foreign_keys)
    event.listen(engine, "rollback", roll_back)
    app.config["ALEMBIC_CONTEXT"] = {"render_item": render_item, "render_as_batch": is_sqlite}
    Alembic(app, run_mkdir=False, metadatas=Base.metadata, engines=migration_engine(engine))
    health.add_check(app, "postgres", lambda: engine.connect().close())  # the pool pings it
    for error in (OperationalError, InterfaceError, PoolTimeoutError):
        app.register_error_handler(error, unavailable)


def remove_async_teardown(app: Flask) -> None:
    """Remove the teardown of async sessions: it starts a thread and an event loop per request."""
    teardowns = app.teardown_appcontext_funcs
    teardowns[:] = filterfalse(iscoroutinefunction, teardowns)


def engine_options(database_url: str, threads: int) -> dict[str, Any]:
    """Return options of ``create_engine``: on PostgreSQL, timeouts and a connection per thread."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return {"url": url}
    arguments = {**LIBPQ, "options": f"{TIMEOUTS} {url.query.get('options', '')}"}
    pool = {"pool_size": threads, "max_overflow": 2, "pool_timeout": 2, "pool_pre_ping": True}
    return {"url": url, "connect_args": arguments, **pool}


def migration_engine(engine: Engine) -> Engine:
    """Return an engine without these timeouts, on which one migration runs at a time."""
    migrations = create_engine(engine.url, poolclass=NullPool)
    if migrations.dialect.name == "postgresql":
        event.listen(migrations, "begin", lock_migrations)
    return migrations


def lock_migrations(connection: Connection) -> None:
    """Wait 5 minutes for other migrations, but 5 seconds for a table: queries queue behind it."""
    connection.exec_driver_sql("SET LOCAL lock_timeout = '5min'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")


def roll_back(connection: Connection) -> None:
    """Discard a connection that was lost after the last query: the request no longer needs it."""
    try:
        connection.connection.rollback()
    except Exception:
        connection.invalidate()


def enforce_foreign_keys(connection: Any, _: Any) -> None:
    """Make SQLite check foreign keys, which it ignores by default."""
    connection.execute("PRAGMA foreign_keys = ON")


def render_item(kind: str, item: Any, _: Any) -> Any:
    """Render a custom type in a migration as the SQL type that stores it."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


def unavailable(error: Exception) -> ResponseReturnValue:
    """Return 503 with ``Retry-After``, and log the reason."""
    current_app.logger.error("the database is unavailable: %s", error)
    problem = ServiceUnavailable("The database is unavailable.", retry_after=5)
    return current_app.handle_http_exception(problem)
