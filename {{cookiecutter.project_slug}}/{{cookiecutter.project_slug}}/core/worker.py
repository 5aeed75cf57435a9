"""Celery: tasks run in an application context, and each job is logged."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Retry, SoftTimeLimitExceeded
from flask import Flask, g, has_app_context
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from werkzeug.exceptions import ServiceUnavailable

from . import health

logger = logging.getLogger(__name__)
for name in ("celery.app.trace", "celery.worker.strategy"):
    logging.getLogger(name).setLevel("CRITICAL")  # each job is logged below


def init_app(app: Flask) -> None:
    """Connect to ``QUEUE_URL``; when unset, a job runs in the process that enqueues it."""
    url = app.config["QUEUE_URL"]
    task = task_class(app)
    celery = Celery(app.name, broker=url, task_cls=task, config_source="config.celery")
    celery.conf.update(task_always_eager=not url)
    celery.set_default()
    app.extensions["celery"] = celery
    if url:
        # The queue has to respond, but may be full.
        health.add_check(app, "queue", lambda: is_full(celery))


def task_class(app: Flask) -> type[Task]:
    """Return the class of all tasks: they run in an application context, and are retried."""

    class AppTask(Task):
        autoretry_for = (Exception,)
        dont_autoretry_for = (SoftTimeLimitExceeded,)
        retry_backoff = 2  # seconds, twice as long for each retry
        default_retry_delay = 5  # seconds, when the process was killed

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context(), logged(self):
                return self.run(*args, **kwargs)

        def apply_async(self, *args: Any, **options: Any) -> Any:
            request_id = g.get("request_id") if has_app_context() else None
            options["headers"] = {"request_id": request_id, **(options.get("headers") or {})}
            try:
                if app.config["QUEUE_URL"] and not self.request.id and is_full(self.app):
                    raise OperationalError("the queue is full")  # only retries have an ID
                return super().apply_async(*args, **options)
            except (OperationalError, RedisError) as error:
                logger.error("%s was not enqueued: %s", self.name, error)
                raise ServiceUnavailable("The queue is unavailable.", retry_after=5) from error

    return AppTask


def is_full(celery: Celery) -> bool:
    """Return whether 90 % of its memory is in use: the rest is for fetched jobs and retries."""
    with celery.pool.acquire(block=True) as connection:
        memory = connection.default_channel.client.info("memory")
    limit = memory["maxmemory"]
    return limit > 0 and memory["used_memory"] > 0.9 * limit


@contextmanager
def logged(task: Task) -> Iterator[None]:
    """Log the start and the end of a job, with the ID of the request that enqueued it."""
    g.request_id = task.request.get("request_id")
    fields = {"task": task.name, "task_id": task.request.id}
    logger.info("%s started", task.name, extra=fields)
    begin = perf_counter()
    level, outcome = logging.ERROR, "failed"
    try:
        yield
        level, outcome = logging.INFO, "succeeded"
    except Retry:
        level, outcome = logging.WARNING, "failed, and is retried"
        raise
    finally:
        fields["duration_ms"] = round((perf_counter() - begin) * 1000, 1)
        traceback = outcome != "succeeded"
        logger.log(level, "%s %s", task.name, outcome, extra=fields, exc_info=traceback)


@signals.setup_logging.connect
def keep_logging(**_: Any) -> None:
    """Keep the logging of ``logs.py``, where Celery would set up its own."""
    logging.getLogger("multiprocessing").handlers = logging.getLogger().handlers


@signals.heartbeat_sent.connect
def touch(**_: Any) -> None:
    """Tell the health check that the worker and the queue respond."""
    Path("/tmp/worker").touch()  # noqa: S108
