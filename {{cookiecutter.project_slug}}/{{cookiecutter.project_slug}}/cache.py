"""Redis as a cache that all workers share; without it, requests are slower and not wrong.

Cache functions that return data: ``@cache.memoize()`` keeps the result for each set of arguments.
Responses differ by user, host and cookie, and are not cached.
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
    """Connect to ``REDIS_URL``; when unset, cache in the memory of the process."""
    url = app.config["REDIS_URL"]
    config = {
        "CACHE_TYPE": "RedisCache" if url else "SimpleCache",
        "CACHE_REDIS_URL": url,
        "CACHE_KEY_PREFIX": app.config.get("CACHE_KEY_PREFIX", f"{app.name}:"),
        "CACHE_DEFAULT_TIMEOUT": 60,
    }
    if url:  # redis-py itself would wait 14 seconds for a Redis that hangs
        timeouts = {"socket_connect_timeout": TIMEOUT, "socket_timeout": TIMEOUT}
        config["CACHE_OPTIONS"] = {**timeouts, "retry": Retry(NoBackoff(), 0)}
    cache.init_app(app, config)
    health.add_check(app, "redis", lambda: cache.get("health"))


def invalidate(function: Any) -> None:
    """Discard all cached results of ``function``; a write does not fail because Redis is down."""
    try:
        cache.delete_memoized(function)
    except RedisError as error:
        logger.warning("%s stays cached for up to a minute: %s", function.__name__, error)
