"""PostgreSQL: the connection pool, a session for each request, and the commands around them."""

import logging
import os
from inspect import iscoroutinefunction
from itertools import filterfalse
from typing import Any

from flask import Flask
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.wrappers import Response

from .. import errors, health
from . import commands, connections
from .session import Session

logger = logging.getLogger(__name__)


db = SQLAlchemy(session_options={"class_": Session, "expire_on_commit": False})


def init_app(app: Flask) -> None:
    """Open a pool on the database, close each session with its request, register the commands."""
    app.config["SQLALCHEMY_ENGINES"] = {"default": engine_options(app.config)}
    db.init_app(app)
    # There are no async sessions; to close none would cost each request a thread and a loop.
    endings = app.teardown_appcontext_funcs
    endings[:] = filterfalse(iscoroutinefunction, endings)
    with app.app_context():
        engine = db.engine
    # A connection must not be used on both sides of a fork, which Windows does not know.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))

    check = health.add_check(app, "postgres", lambda: ping(engine))
    if engine.dialect.name == "postgresql":
        connections.init_engine(engine, check)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        app.register_error_handler(kind, unavailable)
    for command in commands.ALL:
        app.cli.add_command(command)


def engine_options(config: dict[str, Any]) -> dict[str, Any]:
    """What ``create_engine`` needs: for PostgreSQL a connection for each thread, and time-outs."""
    url = make_url(config["DATABASE_URL"])
    if url.get_backend_name() != "postgresql":
        return {"url": url}
    options = [f"-c {name}={value}" for name, value in connections.SERVER_TIMEOUTS.items()]
    options += url.normalized_query.get("options", ())
    return {
        "url": url,
        "connect_args": {
            "connect_timeout": connections.CONNECT_TIMEOUT,
            "options": " ".join(options),
        },
        "pool_size": config["WEB_THREADS"] + 1,  # one more for the readiness check
        "max_overflow": 0,
        "pool_timeout": connections.CONNECT_TIMEOUT,
        "pool_pre_ping": True,
        "pool_recycle": 1_800,
    }


def ping(engine: Engine) -> None:
    """Ask the database for an answer, once: the pool does so before it lends a connection."""
    engine.connect().close()


def unavailable(error: Exception) -> Response:
    """Tell the client to come back, and the log why."""
    logger.error("the database does not answer: %s", error)
    return errors.answer(ServiceUnavailable("The database does not answer.", retry_after=5))
