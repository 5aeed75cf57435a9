import logging
import os
import runpy
import secrets
from collections.abc import Callable
from time import monotonic, perf_counter, sleep

import pytest
from celery import shared_task, signals
from celery.contrib.testing.worker import start_worker
from celery.exceptions import SoftTimeLimitExceeded
from flask import Flask, g

seen: list[str] = []


@shared_task
def collect(text: str) -> None:
    """Store ``text`` with the ID of the request, in more than 50 ms."""
    sleep(0.05)
    seen.append(f"{text} {g.request_id}")


@shared_task
def fail() -> None:
    """Fail each time."""
    raise RuntimeError("on purpose")


@shared_task
def exceed() -> None:
    """Exceed the soft time limit."""
    raise SoftTimeLimitExceeded


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    seen.clear()
    caplog.set_level(logging.INFO)


def test_job_runs_at_once_in_development(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    begin = perf_counter()
    job = collect.delay("text")
    took = perf_counter() - begin

    started, ended = caplog.records[-2:]
    assert seen == ["text None"]
    assert [started.getMessage(), ended.getMessage()] == [
        f"{collect.name} started",
        f"{collect.name} succeeded",
    ]
    assert {(vars(one)["task"], vars(one)["task_id"]) for one in (started, ended)} == {
        (collect.name, job.id)
    }
    assert 50 <= vars(ended)["duration_ms"] <= 1000 * took
    assert not ended.exc_info


def test_worker_runs_a_job_with_the_id_of_its_request(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "QUEUE_URL" not in os.environ:  # the queue in memory has no limit
        monkeypatch.setattr(
            "{{ cookiecutter.project_slug }}.core.worker.is_full",
            lambda _: 0,
        )
    app = make_app(QUEUE_URL=os.environ.get("QUEUE_URL", "memory://"))
    celery, queue = app.extensions["celery"], f"test-{secrets.token_hex(8)}"

    @app.get("/enqueue")
    def view() -> str:
        collect.apply_async(["text"], queue=queue)
        return ""

    with start_worker(celery, perform_ping_check=False, queues=[queue]):
        response = app.test_client().get("/enqueue")
        begin = monotonic()
        while not seen and monotonic() - begin < 60:
            sleep(0.01)

    assert seen == [f"text {response.headers['X-Request-ID']}"]


def test_job_that_fails_is_repeated_and_then_logged(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    job = fail.apply()

    failures = [record for record in caplog.records if "failed" in record.getMessage()]
    assert [one.levelname for one in failures] == ["WARNING", "WARNING", "WARNING", "ERROR"]
    assert [vars(one)["task_id"] for one in failures] == [job.id] * 4
    assert caplog.text.count("RuntimeError: on purpose") >= 4


def test_job_that_exceeds_the_soft_time_limit_is_not_repeated(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    exceed.apply()

    failures = [record for record in caplog.records if "failed" in record.getMessage()]
    assert [one.levelname for one in failures] == ["ERROR"]


def test_request_without_the_queue_is_503_and_logs_the_job(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(QUEUE_URL="redis://127.0.0.1:1")
    app.add_url_rule("/enqueue", view_func=lambda: collect.delay("text").id)
    client = app.test_client()
    begin = monotonic()
    response = client.get("/enqueue")

    assert monotonic() - begin < 60  # by default, Celery tries for minutes
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert f"{collect.name} was not enqueued: " in caplog.text
    assert client.get("/livez").status_code == 200
    assert (client.get("/readyz").json or {})["checks"]["queue"] == "failing"


def test_commands_of_celery_need_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.settings.QUEUE_URL", None)
    with pytest.raises(SystemExit, match="QUEUE_URL is not set"):
        runpy.run_module("{{ cookiecutter.project_slug }}.make_celery")

    monkeypatch.setattr("config.settings.QUEUE_URL", "memory://")
    options = {"socket_timeout": 0.9, "visibility_timeout": 90}
    monkeypatch.setattr("config.celery.broker_transport_options", options)
    celery = runpy.run_module("{{ cookiecutter.project_slug }}.make_celery")["celery"]
    assert celery.tasks[collect.name]
    assert celery.conf.broker_transport_options == options | {"socket_timeout": None}


def test_worker_keeps_the_logging_of_the_service() -> None:
    pool, root = logging.getLogger("multiprocessing"), logging.getLogger()
    before = [*root.handlers]

    assert signals.setup_logging.send(sender=None)

    assert root.handlers == before
    assert pool.handlers == before
    pool.handlers.clear()
