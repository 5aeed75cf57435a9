"""PostgreSQL: ``db.session`` for each request, and timeouts."""

from datetime import UTC, datetime
from inspect import iscoroutinefunction
from typing import Any

from flask import Flask, current_app
from flask.typing import ResponseReturnValue
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import Connection, DateTime, Dialect, MetaData, TypeDecorator, event, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase
from werkzeug.exceptions import ServiceUnavailable

from . import health, migrations

# Timeouts of the server, with the options of postgres; SET LOCAL changes them for one transaction.
TIMEOUTS = "-c statement_timeout=3s -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s"
# Timeouts of libpq: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
LIBPQ = {
    "connect_timeout": 2,  # seconds
    "tcp_user_timeout": 2000,  # milliseconds until data that was sent is acknowledged
    "keepalives_idle": 1,  # seconds
    "keepalives_interval": 1,  # seconds
    "keepalives_count": 2,
}

# Names for constraints, so that migrations can refer to them.
NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# After a commit, objects keep their values, so that a view can return them.
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
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", enforce_foreign_keys)
    event.listen(engine, "rollback", roll_back)
    migrations.init_app(app, engine, Base.metadata)
    health.add_check(app, "postgres", lambda: engine.connect().close())  # the pool pings it
    for error in (OperationalError, InterfaceError, PoolTimeoutError):
        app.register_error_handler(error, unavailable)


def remove_async_teardown(app: Flask) -> None:
    """Remove the teardown of async sessions: it starts a thread and an event loop per request.

    Without it, ``/livez`` is 3.5 times as fast.
    """
    teardowns = app.teardown_appcontext_funcs
    teardowns[:] = [function for function in teardowns if not iscoroutinefunction(function)]


def engine_options(database_url: str, threads: int) -> dict[str, Any]:
    """Return options of ``create_engine``: on PostgreSQL, timeouts and a connection per thread."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return {"url": url}
    arguments = {**LIBPQ, "options": f"{TIMEOUTS} {url.query.get('options', '')}"}
    return {
        "url": url,
        "connect_args": arguments,
{% if cookiecutter.use_accounts %}
        "hide_parameters": True,  # in the log: some of them are hashes of passwords
{% endif %}
        "pool_size": threads,
        "max_overflow": 2,  # connections, for requests that need a second one
        "pool_timeout": 2,  # seconds
        "pool_pre_ping": True,
    }


def roll_back(connection: Connection) -> None:
    """Discard a connection that was lost after the last query: the request no longer needs it.

    SQLAlchemy calls this before its own rollback, which would raise an exception.
    """
    try:
        connection.connection.rollback()
    except Exception:
        connection.invalidate()


def enforce_foreign_keys(connection: Any, _: Any) -> None:
    """Make SQLite check foreign keys, which it ignores by default."""
    connection.execute("PRAGMA foreign_keys = ON")


def unavailable(error: Exception) -> ResponseReturnValue:
    """Return 503 with ``Retry-After``, and log the reason."""
    current_app.logger.error("the database is unavailable: %s", error)
    http_error = ServiceUnavailable("The database is unavailable.", retry_after=5)
    return current_app.handle_http_exception(http_error)
