"""Connections to PostgreSQL that give up: a server that hangs costs a request a bounded time.

What the server limits itself (``SERVER_TIMEOUTS``) it cannot limit while it hangs, or when the
network to it is gone; that is what the limits on this side are for.
"""

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout
from sqlalchemy import Engine, event

from .. import health

CONNECT_TIMEOUT = 2  # seconds; psycopg allows no less
PING_TIMEOUT = 1  # seconds to find out whether a connection of the pool still works
SERVER_TIMEOUTS = {  # milliseconds
    "statement_timeout": 3_000,
    "lock_timeout": 2_000,
    "idle_in_transaction_session_timeout": 10_000,
}
ANSWER_TIMEOUT = SERVER_TIMEOUTS["statement_timeout"] / 1000 + 0.5  # seconds for anything else


class Connection(psycopg.Connection[Any]):
    """A connection that is closed when the server takes longer than ``patience``, in seconds."""

    patience: float = PING_TIMEOUT
    lost: Callable[[], None]

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server, for ``patience`` at most."""
        try:
            return super().wait(gen, interval, timeout or self.patience)
        except _WaitTimeout:
            self.lost()
            self.close()
            raise psycopg.OperationalError(f"no answer within {self.patience} s") from None

    def rollback(self) -> None:
        """Roll back; a server that is gone has done so, and the request may end well."""
        try:
            super().rollback()
        except psycopg.OperationalError:
            self.close()


def init_engine(engine: Engine, check: health.Check) -> None:
    """Have ``engine`` open connections of this kind, but not while the server is away."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, options: Any) -> Connection:
        if check.away:
            raise psycopg.OperationalError("the server did not answer just now")
        try:
            connection = Connection.connect(*args, **options)
        except psycopg.OperationalError:
            check.lost()
            raise
        connection.lost = check.lost
        return connection

    @event.listens_for(engine, "checkout")
    def use(connection: Connection, record: Any, proxy: Any) -> None:
        connection.patience = ANSWER_TIMEOUT

    @event.listens_for(engine, "checkin")
    def keep(connection: Connection | None, record: Any) -> None:
        if connection:
            connection.patience = PING_TIMEOUT
