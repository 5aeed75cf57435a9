"""Log lines on STDOUT: one for each request, and all with the id of theirs.

``LOG_FORMAT`` is ``json``, one object a line, or ``console``, for people.
"""

import logging
import logging.config
import re
from datetime import UTC, datetime
from time import perf_counter
from uuid import uuid4

from flask import Flask, Response, current_app, has_request_context, request
from pythonjsonlogger.json import JsonFormatter

from .health import PROBES

requests = logging.getLogger(f"{__package__}.requests")

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
        if has_request_context():
            record.request_id = request.environ.get("request_id")
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
    app.before_request(begin)
    app.after_request(end)


def begin() -> None:
    """Take the id that a trusted proxy gave to the request, or make one."""
    given = request.headers.get("X-Request-ID", "")
    known = current_app.config["TRUSTED_PROXIES"] and KNOWN_ID.fullmatch(given)
    request.environ["request_id"] = given if known else uuid4().hex
    request.environ["begun"] = perf_counter()


def end(response: Response) -> Response:
    """Tell the client the id, and log the request; a probe only when it fails."""
    response.headers["X-Request-ID"] = request.environ["request_id"]
    method, path, status = request.method, request.path, response.status_code
    if path in PROBES and status < 400:
        return response
    duration = round((perf_counter() - request.environ["begun"]) * 1000, 1)
    details = {"method": method, "path": path, "status": status, "duration_ms": duration}
    details["remote_addr"] = request.remote_addr
    requests.info("%s %s %d in %s ms", method, path, status, duration, extra=details)
    return response
