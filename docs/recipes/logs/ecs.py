"""JSON lines with the names and units of the Elastic Common Schema."""

import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter

NAMES = {
    "time": "@timestamp",
    "level": "log.level",
    "logger": "log.logger",
    "message": "message",
    "request_id": "http.request.id",
    "trace_id": "trace.id",
    "method": "http.request.method",
    "path": "url.path",
    "status": "http.response.status_code",
    "remote_addr": "client.ip",
    "user_id": "user.id",
    "exc_info": "error.stack_trace",
}


class EcsFormatter(JsonFormatter):
    """Formats a record as JSON with the names of the schema."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, *args: Any) -> None:
        """Add the duration in nanoseconds, and the exception."""
        super().add_fields(log_data, record, *args)
        if "duration_ms" in log_data:
            log_data["event.duration"] = round(log_data.pop("duration_ms") * 1_000_000)
        if record.exc_info and record.exc_info[0]:
            log_data["error.type"] = record.exc_info[0].__name__
            log_data["error.message"] = str(record.exc_info[1])

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Rename all fields; those without a name in the schema are labels."""
        return {
            NAMES.get(name, name if "." in name else f"labels.{name}"): value
            for name, value in log_data.items()
        }


FORMATTER = EcsFormatter(
    ["levelname", "name", "message"],
    rename_fields={"levelname": "level", "name": "logger"},
    static_fields={"ecs.version": "9.0.0", "service.name": "shop"},
    timestamp="time",
)
