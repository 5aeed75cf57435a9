"""Redis as a cache that all workers share; without it, requests are slower, but still work.

``@cache.memoize()`` caches the return value of a function, for each set of arguments. Use it on
functions that return data, not on views: responses differ by user, host and cookie.
"""

import logging
from typing import Any

from flask import Flask
from flask_caching import Cache
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from . import health

TIMEOUT = 0.3  # seconds to connect, and to wait for a reply

logger = logging.getLogger(__name__)
cache = Cache()


def init_app(app: Flask) -> None:
    """Connect to ``REDIS_URL``; if it is unset, cache in the memory of the process."""
    url = app.config["REDIS_URL"]
    config = {
        "CACHE_TYPE": "RedisCache" if url else "SimpleCache",
        "CACHE_REDIS_URL": url,
        "CACHE_KEY_PREFIX": app.config.get("CACHE_KEY_PREFIX", f"{app.name}:"),
        "CACHE_DEFAULT_TIMEOUT": 60,
    }
    if url:  # by default, redis-py waits 14 seconds for a server that hangs
        timeouts = {"socket_connect_timeout": TIMEOUT, "socket_timeout": TIMEOUT}
        config["CACHE_OPTIONS"] = {**timeouts, "retry": Retry(NoBackoff(), 0)}
    cache.init_app(app, config)
    health.add_check(app, "redis", lambda: cache.get("health"))


def invalidate(function: Any) -> None:
    """Delete all cached results of ``function``; if Redis is down, log a warning."""
    try:
        cache.delete_memoized(function)
    except RedisError as error:
        logger.warning("%s stays cached for up to a minute: %s", function.__name__, error)
