"""Migrations with Flask-Alembic, one at a time: ``flask db upgrade``, ``flask db revision``."""

from typing import Any

from flask import Flask
from flask_alembic import Alembic
from sqlalchemy import (
    DATETIME,
    Connection,
    Engine,
    MetaData,
    NullPool,
    TypeDecorator,
    create_engine,
    event,
)

LOCK = 7_165_219  # an arbitrary number, the same in all versions of the service


def init_app(app: Flask, engine: Engine, tables: MetaData) -> None:
    """Add the commands ``flask db``, for the database of ``engine``."""
    is_sqlite = engine.dialect.name == "sqlite"
    app.config["ALEMBIC_CONTEXT"] = {"render_item": render_item, "render_as_batch": is_sqlite}
    Alembic(app, run_mkdir=False, metadatas=tables, engines=engine_without_timeouts(engine))


def engine_without_timeouts(engine: Engine) -> Engine:
    """Return an engine on which one migration runs at a time, for as long as it takes."""
    migrations = create_engine(engine.url, poolclass=NullPool)
    if migrations.dialect.name == "postgresql":
        event.listen(migrations, "begin", lock)
    return migrations


def lock(connection: Connection) -> None:
    """Wait up to 5 minutes for another migration, and up to 5 seconds for each table.

    Queries that use a table wait behind a migration that waits for it.
    """
    connection.exec_driver_sql("SET LOCAL lock_timeout = '5min'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")


def render_item(kind: str, item: Any, _: Any) -> Any:
    """Render a custom type in a migration as the SQL type that stores it."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    if kind == "type" and isinstance(item, DATETIME):  # of a table of SQLite that is deleted
        return "sa.DateTime(timezone=True)"
    return False  # Alembic renders it
