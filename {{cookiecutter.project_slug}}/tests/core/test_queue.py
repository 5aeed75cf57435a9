import socket
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from celery import Celery, shared_task, signals
from flask import Flask
from redis.exceptions import TimeoutError as RedisTimeoutError

from {{ cookiecutter.project_slug }}.core import worker

UNREACHABLE = "redis://127.0.0.1:1"
SETTINGS = {
    "task_acks_late": True,
    "task_always_eager": False,
    "task_publish_retry": False,
    "task_reject_on_worker_lost": True,
    "task_retry_on_worker_lost": True,
    "task_soft_time_limit": 50,
    "task_time_limit": 60,
    "worker_prefetch_multiplier": 1,
    "worker_soft_shutdown_timeout": 25,
    "accept_content": ("json",),
    "task_serializer": "json",
    "broker_transport_options": {
        "visibility_timeout": 90,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 0.5,
        "socket_timeout": 0.9,
        "max_retries": 1,
        "interval_start": 0,
    },
}

apps: list[Celery] = []


@shared_task
def remember() -> None:
    """Store the application of the task."""
    apps.append(remember.app)


def test_settings_of_celery_are_in_effect(make_app: Callable[..., Flask]) -> None:
    conf = make_app(QUEUE_URL=UNREACHABLE).extensions["celery"].conf

    assert {name: conf[name] for name in SETTINGS} == SETTINGS


def test_jobs_end_before_they_would_run_again(make_app: Callable[..., Flask]) -> None:
    conf = make_app(QUEUE_URL=UNREACHABLE).extensions["celery"].conf

    limits = [conf.worker_soft_shutdown_timeout, conf.task_soft_time_limit, conf.task_time_limit]
    limits.append(conf.broker_transport_options["visibility_timeout"])
    assert limits == sorted(set(limits))


def test_failed_job_is_repeated_after_seconds(app: Flask) -> None:
    assert (remember.max_retries, remember.retry_backoff) == (3, 2)
    assert remember.default_retry_delay == 5


def test_task_belongs_to_the_service_in_each_thread(app: Flask) -> None:
    thread = threading.Thread(target=remember.delay)
    thread.start()
    thread.join()

    assert apps.pop() is app.extensions["celery"]


CLIENT = "pool.acquire.return_value.__enter__.return_value.default_channel.client"


def info(maximum: int, used: int) -> MagicMock:
    """Return a Celery whose queue has such memory; a Redis of the tests is shared, and not full."""
    parts = {"memory": {"maxmemory": maximum, "used_memory": used}}
    return MagicMock(**{f"{CLIENT}.info": parts.__getitem__})


def test_queue_is_full_when_a_tenth_of_its_memory_is_left() -> None:
    full = [worker.is_full(info(1000, used)) for used in (0, 900, 901, 1000)]

    assert full == [False, False, True, True]
    assert worker.is_full(info(0, 10**9)) is False


@pytest.fixture
def full(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> Flask:
    """Return an application whose queue is full."""
    monkeypatch.setattr(
        "{{ cookiecutter.project_slug }}.core.worker.is_full",
        lambda _: True,
    )
    app = make_app(QUEUE_URL="memory://")
    app.add_url_rule("/enqueue", view_func=lambda: remember.delay().id)
    return app


def test_full_queue_refuses_a_job(full: Flask) -> None:
    response = full.test_client().get("/enqueue")

    assert response.status_code == 503
    assert apps == []


def test_full_queue_accepts_what_is_repeated(full: Flask) -> None:
    remember.push_request(id="of-the-job-that-failed")

    assert full.test_client().get("/enqueue").status_code == 200

    remember.pop_request()


def test_queue_that_hangs_is_unavailable(make_app: Callable[..., Flask]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        app = make_app(QUEUE_URL=f"redis://127.0.0.1:{server.getsockname()[1]}")
        app.add_url_rule("/enqueue", view_func=lambda: remember.delay().id)
        response = app.test_client().get("/enqueue")

    assert response.status_code == 503


def test_queue_that_stops_to_respond_is_unavailable(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(_: Celery) -> None:
        raise RedisTimeoutError

    app = make_app(QUEUE_URL="memory://")
    app.add_url_rule("/enqueue", view_func=lambda: remember.delay().id)
    monkeypatch.setattr("{{ cookiecutter.project_slug }}.core.worker.is_full", hang)

    assert app.test_client().get("/enqueue").status_code == 503


def test_heartbeat_touches_the_file_of_the_health_check() -> None:
    Path("/tmp/worker").unlink(missing_ok=True)

    signals.heartbeat_sent.send(sender=None)

    assert Path("/tmp/worker").exists()
