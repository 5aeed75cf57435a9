"""Log lines on STDOUT: one for each request, and all with the id of theirs.

``LOG_FORMAT`` is ``json``, one object a line, or ``console``, for people.
"""

import logging
import logging.config
import re
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from time import perf_counter
from typing import Any
from uuid import uuid4
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, has_request_context, request
from pythonjsonlogger.json import JsonFormatter
from werkzeug.wsgi import get_path_info

from .health import PROBES

requests = logging.getLogger(f"{__package__}.requests")
current_id: ContextVar[str | None] = ContextVar("request_id", default=None)

KNOWN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


class Formatter(JsonFormatter):
    """One JSON object a line; times in UTC (RFC 3339)."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """The time of ``record`` to the millisecond."""
        time = datetime.fromtimestamp(record.created, UTC)
        return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class RequestId(logging.Filter):
    """Give a record the id of the request that it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drop a record."""
        if has_request_context():  # also in other threads, and while an answer is streamed
            record.request_id = request.environ.get("request_id")
        elif request_id := current_id.get():
            record.request_id = request_id
        return True


def configure(level: str, form: str) -> None:
    """Send all lines of ``level`` and above to STDOUT, as ``json`` or for the ``console``."""
    fields = ["asctime", "levelname", "name", "message"]
    names = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
    console = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {"()": Formatter, "fmt": fields, "rename_fields": names},
                "console": {"format": console, "datefmt": "%H:%M:%S"},
            },
            "filters": {"request_id": {"()": RequestId}},
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "formatter": form,
                    "filters": ["request_id"],
                }
            },
            "root": {"level": level, "handlers": ["stdout"]},
            # The requests that the development server would report are reported already.
            "loggers": {"werkzeug": {"level": "WARNING"}},
        }
    )


def init_app(app: Flask) -> None:
    """Log as the settings say, and each request when it is answered."""
    if not app.testing:  # a test captures the records itself
        configure(app.config["LOG_LEVEL"], app.config["LOG_FORMAT"])
    app.wsgi_app = RequestLog(app.wsgi_app, app.config["TRUSTED_PROXIES"] > 0)  # type: ignore[method-assign]


class RequestLog:
    """Give each request an id, tell the client, and log the request when it is answered."""

    def __init__(self, app: WSGIApplication, is_behind_proxy: bool) -> None:
        self.app = app
        self.is_behind_proxy = is_behind_proxy

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun = perf_counter()
        request_id = environ["request_id"] = self.id_of(environ)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            kept = [header for header in headers if header[0].lower() != "x-request-id"]
            write = start_response(status, [*kept, ("X-Request-ID", request_id)], *exc_info)
            report(environ, int(status[:3]), perf_counter() - begun)
            return write

        before = current_id.set(request_id)
        try:
            return self.app(environ, start)
        finally:
            current_id.reset(before)

    def id_of(self, environ: WSGIEnvironment) -> str:
        """The id that a trusted proxy gave to the request, or a new one."""
        given: str = environ.get("HTTP_X_REQUEST_ID", "")
        return given if self.is_behind_proxy and KNOWN_ID.fullmatch(given) else uuid4().hex


def report(environ: WSGIEnvironment, status: int, seconds: float) -> None:
    """Log a request that was answered; a probe only when it fails."""
    method, path = environ["REQUEST_METHOD"], get_path_info(environ)
    if path in PROBES and status < 400:
        return
    duration = round(seconds * 1000, 1)
    details = {"method": method, "path": path, "status": status, "duration_ms": duration}
    details["remote_addr"] = environ.get("REMOTE_ADDR")
    requests.info("%s %s %d in %s ms", method, path, status, duration, extra=details)
