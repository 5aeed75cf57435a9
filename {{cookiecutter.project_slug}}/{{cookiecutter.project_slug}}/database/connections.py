"""Connections to PostgreSQL that give up: a server that hangs costs a request a bounded time.

What the server limits itself (``SERVER_TIMEOUTS``) it cannot limit while it hangs, or when the
network to it is gone; that is what the limits on this side are for.
"""

from time import monotonic
from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout
from sqlalchemy import Engine, event

CONNECT_TIMEOUT = 2  # seconds; psycopg allows no less
PING_TIMEOUT = 1  # seconds to find out whether a connection of the pool still works
ANSWER_TIMEOUT = 3.5  # seconds for anything else
PAUSE = 2  # seconds in which a server that did not answer is asked by one request only
SERVER_TIMEOUTS = {  # milliseconds
    "statement_timeout": 3_000,
    "lock_timeout": 2_000,
    "idle_in_transaction_session_timeout": 10_000,
}


class Outage:
    """Whether the server has stopped to answer: then one request at a time tries, and no more."""

    def __init__(self) -> None:
        self.begun = False
        self.next_try = 0.0

    def begin(self) -> None:
        """Remember that the server did not answer."""
        self.begun = True
        self.next_try = monotonic() + PAUSE

    def let_pass(self) -> None:
        """Raise at once what would be raised later, unless it is time to try again."""
        if self.begun and monotonic() < self.next_try:
            raise psycopg.OperationalError("the server did not answer just now")
        self.next_try = monotonic() + PAUSE

    def end(self) -> None:
        """Remember that the server answers."""
        self.begun = False


class Connection(psycopg.Connection[Any]):
    """A connection that is closed when the server takes longer than ``patience``, in seconds."""

    patience: float = PING_TIMEOUT
    outage = Outage()

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server, for ``patience`` at most."""
        try:
            return super().wait(gen, interval, timeout or self.patience)
        except _WaitTimeout:
            self.outage.begin()
            self.close()
            raise psycopg.OperationalError(f"no answer within {self.patience} s") from None


def init_engine(engine: Engine) -> None:
    """Have ``engine`` open, check and use connections of this kind."""
    outage = Outage()

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, options: Any) -> Connection:
        outage.let_pass()
        try:
            connection = Connection.connect(*args, **options)
        except psycopg.OperationalError:
            outage.begin()
            raise
        outage.end()
        connection.outage = outage
        return connection

    @event.listens_for(engine, "checkout")
    def use(connection: Connection, record: Any, proxy: Any) -> None:
        connection.patience = ANSWER_TIMEOUT

    @event.listens_for(engine, "checkin")
    def keep(connection: Connection | None, record: Any) -> None:
        if connection:
            connection.patience = PING_TIMEOUT
