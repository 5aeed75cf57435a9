"""How Alembic connects; see ``flask migrate --help`` and ``flask revision --help``."""

from typing import Any, Literal
from zlib import crc32

from alembic import context
from sqlalchemy import Connection, NullPool, TypeDecorator, create_engine, text

from {{ cookiecutter.project_slug }}.database import db
from {{ cookiecutter.project_slug }}.database.models import Base

# Two jobs that start at once do not upgrade at once: the second waits, and finds nothing to do.
LOCK = crc32(b"{{ cookiecutter.project_slug }} migrations")
WAIT_FOR_OTHER_JOB = "5min"
# A migration that waits for a lock holds up all queries behind it: rather fail, and try again.
WAIT_FOR_TABLE = "5s"


def lock_out_others(connection: Connection) -> None:
    """Let only one migration job run, until its transaction ends."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_FOR_OTHER_JOB}'"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_FOR_TABLE}'"))


def render_item(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Write a type of ours into a migration as the type of the database that it stands for."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


def run() -> None:
    """Run the migrations in one transaction, on a connection without the service's time-outs."""
    engine = create_engine(db.engine.url, poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(
            connection,
            target_metadata=Base.metadata,
            render_item=render_item,
            render_as_batch=connection.dialect.name == "sqlite",  # it cannot alter most of a table
        )
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                lock_out_others(connection)
            context.run_migrations()


run()
