"""Sessions in which only what needs a transaction has one.

At PostgreSQL's default isolation each statement sees what was committed before it, with or without
a transaction around it; a GET request that only reads is spared BEGIN and ROLLBACK.
"""

from functools import cache
from typing import Any

from flask import has_request_context, request
from sqlalchemy import Connection, Engine, event, orm


class Session(orm.Session):
    """A session whose transaction begins, in a GET request, when more is done than to read."""

    def get_bind(self, *args: Any, **options: Any) -> Engine | Connection:
        """The engine, in GET requests without transactions."""
        engine = super().get_bind(*args, **options)
        reads = has_request_context() and request.method in {"GET", "HEAD"}
        return autocommitting(engine) if reads and isinstance(engine, Engine) else engine

    def connection(self, *args: Any, **options: Any) -> Connection:
        """The connection, in a transaction: nobody knows what it is for."""
        connection = super().connection(*args, **options)
        begin(connection)
        return connection

    def begin_nested(self) -> orm.SessionTransaction:
        """Begin a savepoint, which needs a transaction around it."""
        self.connection()
        return super().begin_nested()


@event.listens_for(Session, "before_flush")
def flush(session: Session, *_: Any) -> None:
    """Write in a transaction."""
    session.connection()


@event.listens_for(Session, "do_orm_execute")
def execute(statement: orm.ORMExecuteState) -> None:
    """Do in a transaction what is more than to read rows once."""
    streams = {"stream_results", "yield_per"} & statement.execution_options.keys()
    locks = getattr(statement.statement, "_for_update_arg", None) is not None
    if streams or locks or not statement.is_select:
        statement.session.connection(dict(statement.bind_arguments))


def begin(connection: Connection) -> None:
    """Begin a transaction on a connection that commits each statement by itself."""
    options = connection.get_execution_options()
    if options.get("isolation_level") == "AUTOCOMMIT" and not in_transaction(connection):
        connection.exec_driver_sql("BEGIN")


def in_transaction(connection: Connection) -> bool:
    """Whether the database has one open, whatever SQLAlchemy thinks of it."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    return bool(driver.info.transaction_status)


@cache
def autocommitting(engine: Engine) -> Engine:
    """``engine``, with the same pool, without transactions."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")
