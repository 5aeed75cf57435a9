"""Sessions in which only what needs a transaction has one.

At PostgreSQL's default isolation each statement sees what was committed before it, with or without
a transaction around it; a GET request that only reads is spared BEGIN and ROLLBACK.
"""

import re
from functools import cache
from typing import Any

from flask import has_request_context, request
from sqlalchemy import Connection, Engine, event, orm

# What needs no transaction before it: reading, without a lock or a new table, and BEGIN itself
PLAIN = re.compile(r"BEGIN$|SELECT\b(?!.*\b(FOR|INTO)\b)", re.DOTALL)


class Session(orm.Session):
    """A session whose transaction begins, in a GET request, when more is done than to read."""

    def get_bind(self, *args: Any, **options: Any) -> Engine | Connection:
        """The engine, in GET requests without transactions until one is needed."""
        engine = super().get_bind(*args, **options)
        reads = has_request_context() and request.method in {"GET", "HEAD"}
        return autocommitting(engine) if reads and isinstance(engine, Engine) else engine


@cache
def autocommitting(engine: Engine) -> Engine:
    """``engine``, with the same pool, without transactions until one is needed."""
    variant = engine.execution_options(isolation_level="AUTOCOMMIT")
    event.listen(variant, "before_cursor_execute", begin)
    return variant


def begin(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> None:
    """Begin a transaction before ``statement``, unless it only reads rows, all at once."""
    plain = PLAIN.match(statement) and not context.execution_options.get("stream_results")
    if not plain and not in_transaction(connection):
        connection.exec_driver_sql("BEGIN")


def in_transaction(connection: Connection) -> bool:
    """Whether the database has one open, whatever SQLAlchemy thinks of it."""
    driver: Any = connection.connection.driver_connection
    sqlite = connection.dialect.name == "sqlite"
    return bool(driver.in_transaction if sqlite else driver.info.transaction_status)
