"""``/metrics`` for Prometheus: totals of all workers, and which dependencies respond."""

import os
from collections.abc import Iterable
from hmac import compare_digest
from time import perf_counter, time
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Gauge, Histogram, make_wsgi_app
from prometheus_client.core import REGISTRY, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
{% if cookiecutter.use_postgres %}
from sqlalchemy import event
{% endif %}
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from . import health
{% if cookiecutter.use_postgres %}
from .database import db
{% endif %}

LABELS = ["method", "route", "status"]
REQUESTS = Histogram("http_request_duration_seconds", "Duration of requests.", LABELS)
ACTIVE = Gauge("http_requests_active", "Requests in progress.", multiprocess_mode="livesum")
{% if cookiecutter.use_postgres %}
CONNECTIONS = Gauge("database_connections", "Connections in use.", multiprocess_mode="livesum")
{% endif %}


def init_app(app: Flask) -> None:
    """Count requests, and serve ``/metrics`` under any host: Prometheus requests an address."""
    app.before_request(lambda: ACTIVE.inc())
    app.after_request(count)
    app.teardown_request(lambda _: ACTIVE.dec(1 if "started" in g else 0))
{% if cookiecutter.use_postgres %}
    with app.app_context():
        event.listen(db.engine, "checkout", lambda *_: CONNECTIONS.inc())
        event.listen(db.engine, "checkin", lambda *_: CONNECTIONS.dec())
{% endif %}
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": endpoint(app)})  # type: ignore[method-assign]


def count(response: Response) -> Response:
    """Count a request by its route: a label for each path or method of a client is too much."""
    rule = request.url_rule
    labels = (request.method, rule.rule) if rule else ("any", "none")
    REQUESTS.labels(*labels, response.status_code).observe(perf_counter() - g.started)
    return response


class State:
    """What is measured when Prometheus asks, and not for each process."""

    def __init__(self, app: Flask) -> None:
        self.app, self.started = app, time()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the time of the start, and which dependencies respond."""
        yield GaugeMetricFamily("service_started_seconds", "Time of the start.", self.started)
        with self.app.app_context():
            checks = self.app.extensions["health"].items()
            up = {name: health.run(name, check) == "ok" for name, check in checks}
        family = GaugeMetricFamily("dependency_up", "1 if it responds.", labels=["name"])
        for name in up:
            family.add_metric([name], up[name])
        yield family
{% if cookiecutter.use_worker %}
        if self.app.config["QUEUE_URL"] and up["queue"]:
            with self.app.extensions["celery"].connection_for_read() as queue:
                waiting = queue.default_channel.client.llen("celery")
            yield GaugeMetricFamily("queue_length", "Jobs that wait.", waiting)
{% endif %}


def endpoint(app: Flask) -> Any:
    """Return the WSGI application of ``/metrics``, which needs the token."""
    registry = CollectorRegistry()
    registry.register(State(app))
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    metrics, token = make_wsgi_app(registry), app.config["METRICS_TOKEN"]

    def answer(environ: Any, start_response: Any) -> Any:
        given = environ.get("HTTP_AUTHORIZATION", "")
        if token and not compare_digest(given.encode(), f"Bearer {token}".encode()):
            denied = Response(status=401, headers={"WWW-Authenticate": "Bearer"})
            return denied(environ, start_response)
        return metrics(environ, start_response)

    return answer
