"""Limits for a route, which all processes share: https://flask-limiter.readthedocs.io.

``@limiter.limit("10 per minute")`` stands below the decorator of the route.
"""

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

TIMEOUT = 0.3  # seconds to connect, and to wait for a reply

limiter = Limiter(
    get_remote_address,
    headers_enabled=True,
    in_memory_fallback_enabled=True,  # while Redis is down, each process counts for itself
    strategy="moving-window",
    swallow_errors=True,  # of requests that are waiting for Redis at the moment it fails
)


def init_app(app: Flask) -> None:
    """Count in ``REDIS_URL``; if it is unset, in the memory of the process."""
    app.config["RATELIMIT_KEY_PREFIX"] = app.name
    app.config["RATELIMIT_STORAGE_URI"] = app.config["REDIS_URL"] or "memory://"
    if app.config["REDIS_URL"]:  # by default, redis-py waits 5 seconds
        timeouts = {"socket_connect_timeout": TIMEOUT, "socket_timeout": TIMEOUT}
        app.config["RATELIMIT_STORAGE_OPTIONS"] = timeouts
    limiter.init_app(app)
