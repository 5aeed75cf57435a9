"""Logging to STDOUT, as JSON or for the console, with one line for each request."""

import logging
import re
import sys
from time import perf_counter
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from flask import Flask, Response, current_app, g, has_app_context, request
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

logger = logging.getLogger("{{ cookiecutter.project_slug }}.requests")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")  # other characters could forge lines of the log
{% if cookiecutter.use_accounts %}
LINK = re.compile(r"^(/account/[a-z-]+/).+")  # of a mail, with its token
{% endif %}
NOT_APPENDED = {*RESERVED_ATTRS, "method", "path", "status"}  # the message contains these three


class ConsoleFormatter(logging.Formatter):
    """Formats a record as one line, with its additional fields at the end."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Escape control characters, so that clients cannot forge log lines."""
        fields = [f"{k}={v}" for k, v in vars(record).items() if k not in NOT_APPENDED]
        line = " ".join([super().formatMessage(record), *fields])
        return "".join(char if char.isprintable() else escaped(char) for char in line)


def escaped(char: str) -> str:
    """Return a character as Python writes it in a string, such as ``\\n``, without the quotes."""
    return repr(char)[1:-1]


FORMATTERS = {
    "console": ConsoleFormatter("%(asctime)s %(levelname)-8s %(name)s: %(message)s", "%H:%M:%S"),
    "json": JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger"},
        defaults={"time": None},  # so that it is the first field
        timestamp="time",
    ),
}


def configure(level: str, log_format: str) -> None:
    """Log messages of ``level`` and above to STDOUT, including those of gunicorn."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(FORMATTERS[log_format])
    handler.addFilter(add_request_id)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("gunicorn.error").handlers = [handler]
    logging.getLogger("werkzeug").setLevel("WARNING")  # it would log each request again


def add_request_id(record: logging.LogRecord) -> bool:
    """Add the ID of the current request to ``record``, and keep every record."""
    if has_app_context() and "request_id" in g:
        record.request_id = g.request_id
    return True


def init_app(app: Flask) -> None:
    """Configure logging, and log each request."""
    if not app.testing:  # pytest captures the records itself
        configure(app.config["LOG_LEVEL"], app.config["LOG_FORMAT"])
    app.url_value_preprocessor(begin)  # Flask calls these functions before all others
    app.after_request(finish)


def begin(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Take the request ID from a trusted proxy, or generate one."""
    given = ""
    if current_app.config["TRUSTED_PROXIES"]:
        given = request.headers.get("X-Request-ID", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
    g.started = perf_counter()
    g.log_fields = {}


def add_fields(**fields: Any) -> None:
    """Add fields to the log line of the current request; a reserved name gets a ``_`` at its end.

    In a command, the fields are ignored. It needs an application context.
    """
    for name, value in fields.items():
        key = f"{name}_" if name in RESERVED_ATTRS else name
        g.setdefault("log_fields", {})[key] = value


def finish(response: Response) -> Response:
    """Log the request, unless it is a health check that succeeded."""
    response.headers["X-Request-ID"] = g.request_id
    if request.blueprint == "health" and response.status_code < 400:
        return response
{% if cookiecutter.use_accounts %}
    path = LINK.sub(r"\1...", request.path)
{% else %}
    path = request.path
{% endif %}
    fields = {
        "method": request.method,
        "path": path,
        "status": response.status_code,
        "duration_ms": round((perf_counter() - g.started) * 1000, 1),
        "remote_addr": request.remote_addr,
        **g.log_fields,
    }
    logger.info(f"{request.method} {quote(path)} {response.status_code}", extra=fields)
    return response
