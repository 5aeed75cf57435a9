"""Redis as a cache that all workers share; without it, requests are slower, but still work.

``@cache.memoize()`` caches the return value of a function, for each set of arguments. Use it on
functions that return data, not on views: responses differ by user, host and cookie. The data has to
be JSON: texts, numbers, lists and dictionaries.
"""

import json
import logging
from typing import Any

from cachelib.serializers import BaseSerializer
from flask import Flask, g
from flask_caching import Cache
from redis.exceptions import RedisError
{% if cookiecutter.use_postgres %}
from sqlalchemy import event
from sqlalchemy.orm import Session
{% endif %}

from . import health

TIMEOUT = 0.3  # seconds to connect, and to wait for a reply

logger = logging.getLogger(__name__)
cache = Cache()


class JSONSerializer(BaseSerializer):
    """Stores values as JSON: a pickle, the default, can run code when it is read."""

    def dumps(self, value: Any, *_: Any) -> bytes:
        """Return the bytes to store."""
        return json.dumps(value).encode()

    def loads(self, stored: Any) -> Any:
        """Return the value, or None if there is none, or none that this service has stored."""
        try:
            return json.loads(stored or b"null")
        except (RecursionError, ValueError):
            return None


def init_app(app: Flask) -> None:
    """Connect to ``REDIS_URL``; if it is unset, cache in the memory of the process."""
    url = app.config["REDIS_URL"]
    config = {
        "CACHE_TYPE": "RedisCache" if url else "SimpleCache",
        "CACHE_REDIS_URL": url,
        "CACHE_KEY_PREFIX": app.config.get("CACHE_KEY_PREFIX", f"{app.name}:"),
        "CACHE_DEFAULT_TIMEOUT": 60,
        "CACHE_SERIALIZER": JSONSerializer,
    }
    if url:  # by default, redis-py waits 5 seconds
        config["CACHE_OPTIONS"] = {"socket_connect_timeout": TIMEOUT, "socket_timeout": TIMEOUT}
    cache.init_app(app, config)
    logging.getLogger("flask_caching").addFilter(shorten)
    health.add_check(app, "redis", lambda: cache.get("health"))


def shorten(record: logging.LogRecord) -> bool:
    """Log one line for each request, where Flask-Caching logs a traceback for each call."""
    if not record.exc_info:
        return True
    report(record.exc_info[1])
    return False


def report(error: BaseException | None) -> None:
    """Log that the cache has failed, unless this request has already logged it."""
    if not g.get("cache_failed"):
        g.cache_failed = True
        logger.warning("the cache failed, so results may be a minute old: %s", error)


{% if cookiecutter.use_postgres %}
def memoize_until_commit(function: Any) -> Any:
    """Cache the results of a function that reads the database, until any session commits."""
    cached = cache.memoize()(function)
    event.listen(Session, "after_commit", lambda session: invalidate(cached))
    return cached


{% endif %}
def invalidate(function: Any) -> None:
    """Delete all cached results of ``function``; if Redis is down, they stay up to a minute."""
    try:
        cache.delete_memoized(function)
    except RedisError as error:
        report(error)
