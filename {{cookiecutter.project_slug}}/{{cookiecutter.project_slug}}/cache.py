"""Redis as a cache of whole answers, shared by all workers.

Nothing depends on it: when Redis is down or hangs, requests go on without it.
"""

import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

from cachelib import SimpleCache
from flask import Blueprint, Flask, Response, request
from flask.typing import ResponseReturnValue
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from . import health

LIFETIME = 60  # seconds that an answer is kept
TIMEOUT = 0.3  # seconds for connecting, and for one command
NOT_KEPT = ("X-Cache", "Cache-Control", "Set-Cookie")  # an answer that has one of these headers

logger = logging.getLogger(__name__)


class InProcess:
    """The commands of Redis that this module uses, for one process and without a server."""

    def __init__(self) -> None:
        self.memory = SimpleCache()

    def mget(self, *keys: str) -> list[Any]:
        """The values of ``keys``, with none for each that is missing."""
        return self.memory.get_many(*keys)

    def set(self, key: str, value: bytes, ex: int) -> bool:
        """Keep ``value`` for ``ex`` seconds."""
        return bool(self.memory.set(key, value, timeout=ex))

    def ping(self) -> bool:
        """Answer."""
        return True


class Cache:
    """The answers of one blueprint, good until one of its writes succeeds.

    All belong to an edition, and a write begins a new one. An answer is kept under the edition
    that was current before it was made, so it is never taken for newer than it is.
    """

    def __init__(self, server: Redis | InProcess, prefix: str, check: health.Check) -> None:
        self.server = server
        self.prefix = prefix
        self.check = check
        self.outdated = False

    def get(self) -> Response | None:
        """The answer kept for this request, if it is current."""
        if self.outdated:
            self.renew()
        found = self.ask(self.server.mget, f"{self.prefix}:edition", self.key())
        if found is None:
            return None
        request.environ["cache.edition"] = edition = found[0] or self.renew()
        return thaw(found[1], edition) if found[1] else None

    def set(self, response: Response) -> None:
        """Keep ``response`` for those who ask for the same."""
        if edition := request.environ.get("cache.edition"):
            self.ask(self.server.set, self.key(), freeze(response, edition), ex=LIFETIME)

    def renew(self) -> bytes | None:
        """Begin a new edition: all answers kept so far are outdated, at the latest soon."""
        edition = uuid4().hex.encode()
        kept = self.ask(self.server.set, f"{self.prefix}:edition", edition, ex=LIFETIME)
        self.outdated = kept is None
        return edition if kept else None

    def key(self) -> str:
        """Where the answer to this request is kept."""
        return f"{self.prefix}:{request.full_path}"

    def ask(self, command: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run ``command``; none when the server is away."""
        if self.check.away:
            return None
        try:
            return command(*args, **options)
        except RedisError as error:
            logger.warning("Redis does not answer, going on without: %s", error)
            self.check.lost()
            return None


def init_app(app: Flask, *blueprints: Blueprint) -> None:
    """Keep the answers to the GET requests of ``blueprints``, which must be the same for all.

    All hooks, such as one that asks for a login, come before an answer that is kept. Whatever else
    writes what they show calls ``app.extensions["cache"][NAME].renew()``.
    """
    server = connect(app.config["REDIS_URL"])
    check = health.add_check(app, "redis", server.ping, gives_up=True)
    # Tests must not see each other's answers, nor those of the service.
    prefix = f"{app.name}:{uuid4().hex}" if app.testing else app.name
    caches: dict[str, Cache] = {}
    app.extensions["cache"] = caches
    for blueprint in blueprints:
        cache = caches[blueprint.name] = Cache(server, f"{prefix}:{blueprint.name}", check)
        app.after_request_funcs[blueprint.name].append(partial(keep, cache))
    ask_hooks = app.preprocess_request

    def preprocess_request(*args: Any) -> ResponseReturnValue | None:
        answer = ask_hooks(*args)
        return look_up(caches) if answer is None else answer

    app.preprocess_request = preprocess_request  # type: ignore[method-assign]


def connect(url: str | None) -> Redis | InProcess:
    """A client that gives up soon and never tries again by itself; in this process without URL."""
    if url is None:
        return InProcess()
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )


def look_up(caches: dict[str, Cache]) -> Response | None:
    """Answer from the cache, before the view is asked; but not those who say who they are."""
    cache = caches.get(request.blueprint or "")
    personal = {"HTTP_AUTHORIZATION", "HTTP_COOKIE"} & request.environ.keys()
    return cache.get() if cache and request.method == "GET" and not personal else None


def keep(cache: Cache, response: Response) -> Response:
    """Keep a good answer; after a write that succeeded, begin anew."""
    if request.method == "GET" and response.status_code == 200:
        if not any(name in response.headers for name in NOT_KEPT):
            cache.set(response)
    elif request.method in {"POST", "PUT", "PATCH", "DELETE"} and response.status_code < 400:
        cache.renew()
    return response


def freeze(response: Response, edition: bytes) -> bytes:
    """``response`` as bytes: its edition, its headers, its body, each after a line break."""
    return b"\n".join([edition, json.dumps(list(response.headers)).encode(), response.data])


def thaw(frozen: bytes, edition: bytes | None) -> Response | None:
    """The response in ``frozen``, unless it belongs to an earlier edition."""
    then, headers, body = frozen.split(b"\n", 2)
    if then != edition:
        return None
    response = Response(body, headers=json.loads(headers))
    response.headers["X-Cache"] = "hit"
    return response
