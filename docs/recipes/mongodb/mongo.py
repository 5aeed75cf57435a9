"""MongoDB: ``database()`` for views, with timeouts."""

import logging
from functools import cache
from typing import Any

from flask import Flask, current_app
from flask.typing import ResponseReturnValue
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConnectionFailure
from werkzeug.exceptions import ServiceUnavailable

from .core import health

logger = logging.getLogger(__name__)


@cache
def client(url: str) -> MongoClient[dict[str, Any]]:
    """Return the client of this process, which is never closed: it contains a connection pool."""
    return MongoClient(
        url,
        connect=False,  # until the first operation, because gunicorn forks before
        serverSelectionTimeoutMS=2000,  # to find the server
        timeoutMS=3000,  # for each operation
        tz_aware=True,
    )


def init_app(app: Flask) -> None:
    """Use the database in ``MONGO_URL``; the tests set ``MONGO_DATABASE``."""
    server = client(app.config["MONGO_URL"])
    app.extensions["mongo"] = server.get_database(app.config.get("MONGO_DATABASE"))
    health.add_check(app, "mongo", lambda: server.admin.command("ping"))
    app.register_error_handler(ConnectionFailure, unavailable)


def database() -> Database[dict[str, Any]]:
    """Return the database."""
    mongo: Database[dict[str, Any]] = current_app.extensions["mongo"]
    return mongo


def unavailable(error: Exception) -> ResponseReturnValue:
    """Return 503 with ``Retry-After``, and log the reason."""
    logger.error("MongoDB is unavailable: %s", error)
    problem = ServiceUnavailable("The database is unavailable.", retry_after=5)
    return current_app.handle_http_exception(problem)
