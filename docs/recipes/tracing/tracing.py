"""Traces of requests and jobs, sent to an OpenTelemetry collector."""

import logging
import os

from flask import Flask
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def init_app(app: Flask) -> None:
    """Trace ``app``, and add ``trace_id`` to all log lines, if there is a collector."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(add_trace_id)
    if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
        start()
        probes = "/livez$,/readyz$"
        FlaskInstrumentor().instrument_app(app, excluded_urls=probes)  # type: ignore[no-untyped-call]


def start() -> None:
    """Send spans in a thread, which the SDK starts again in each worker of gunicorn and Celery."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]
    PsycopgInstrumentor().instrument()  # SQLAlchemy's does not support SQLAlchemy 2.1 yet
    RedisInstrumentor().instrument()


def add_trace_id(record: logging.LogRecord) -> bool:
    """Add the ID of the current trace to ``record``, and keep every record."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = trace.format_trace_id(context.trace_id)
    return True
