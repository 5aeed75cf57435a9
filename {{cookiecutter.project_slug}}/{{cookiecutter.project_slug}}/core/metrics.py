"""``/metrics`` for Prometheus: totals of all workers, and which dependencies respond."""

import os
import re
from functools import cache
from hmac import compare_digest
from time import perf_counter, time
from typing import Any

from flask import Flask, Response, g, request
{% if cookiecutter.use_redis %}
from flask_caching.signals import cache_memoize_hit, cache_memoize_miss
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    make_wsgi_app,
)
{% else %}
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, Histogram, make_wsgi_app
{% endif %}
from prometheus_client.multiprocess import MultiProcessCollector
{% if cookiecutter.use_postgres %}
from sqlalchemy import text
{% endif %}

from . import health
{% if cookiecutter.use_postgres %}
from .database import db
{% endif %}

LABELS = ["method", "route", "status"]
REQUESTS = Histogram("http_request_duration_seconds", "Duration of requests.", LABELS)
ACTIVE = Gauge("http_requests_active", "Requests in progress.", multiprocess_mode="livesum")
STARTED = Gauge("service_started_seconds", "Time of the start.", multiprocess_mode="mostrecent")
UP = Gauge("dependency_up", "1 if it responds.", ["name"], multiprocess_mode="mostrecent")
{% if cookiecutter.use_worker %}
QUEUE = Gauge("queue_length", "Jobs that wait.", multiprocess_mode="mostrecent")
{% endif %}
{% if cookiecutter.use_redis %}
HITS = Counter("cache_hits", "Calls of memoized functions whose result was in the cache.")
MISSES = Counter("cache_misses", "Calls of memoized functions whose result was not there.")
cache_memoize_hit.connect(lambda *_, **__: HITS.inc(), weak=False)
cache_memoize_miss.connect(lambda *_, **__: MISSES.inc(), weak=False)
{% endif %}
{% if cookiecutter.use_postgres %}
CONNECTIONS = Gauge("database_connections", "Open connections.", multiprocess_mode="mostrecent")
COUNT_CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
{% endif %}


def init_app(app: Flask) -> None:
    """Count requests, and serve ``/metrics``."""
    app.after_request(count)
    app.wsgi_app = Middleware(app)  # type: ignore[method-assign]


def count(response: Response) -> Response:
    """Count a request by its route: a label for each path or method of a client is too much."""
    if request.blueprint == "health":  # they would lower the rate of errors
        return response
    rule = request.url_rule
    labels = (request.method, without_converters(rule.rule)) if rule else ("any", "none")
    REQUESTS.labels(*labels, response.status_code).observe(perf_counter() - g.started)
    return response


@cache
def without_converters(rule: str) -> str:
    """Return a route such as /notes/<note_id>, whose rule is /notes/<int:note_id>."""
    return re.sub("<[^<>]*:", "<", rule)


class Middleware:
    """Serves ``/metrics`` under any host, because Prometheus requests it from an IP address."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.wsgi_app = app.wsgi_app
        self.started = time()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Respond to a request, and track that it is in progress."""
        if environ["PATH_INFO"] == "/metrics":
            return self.metrics(environ)(environ, start_response)
        with ACTIVE.track_inprogress():
            return self.wsgi_app(environ, start_response)

    def metrics(self, environ: Any) -> Any:
        """Return the application that responds with the metrics, if the request has the token."""
        token = self.app.config["METRICS_TOKEN"]
        given = environ.get("HTTP_AUTHORIZATION", "")
        if token and not compare_digest(given.encode(), f"Bearer {token}".encode()):
            return Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        with self.app.app_context():
            self.measure()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return make_wsgi_app(REGISTRY)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return make_wsgi_app(registry)

    def measure(self) -> None:
        """Set the gauges that no request changes."""
        STARTED.set(self.started)
        checks = self.app.extensions.get("health", {}).items()
        up = {name: health.run(name, check) == "ok" for name, check in checks}
        for name in up:
            UP.labels(name).set(up[name])
{% if cookiecutter.use_postgres %}
        if up.get("postgres") and db.engine.dialect.name == "postgresql":
            CONNECTIONS.set(db.session.scalar(COUNT_CONNECTIONS) or 0)
{% endif %}
{% if cookiecutter.use_worker %}
        if self.app.config["QUEUE_URL"] and up["queue"]:
            with self.app.extensions["celery"].connection_for_read() as queue:
                QUEUE.set(queue.default_channel.client.llen("celery"))
{% endif %}
