import logging
import os
import runpy
import secrets
from collections.abc import Callable
from time import monotonic

import pytest
from celery import shared_task
from celery.contrib.testing.worker import start_worker
from flask import Flask, g

seen: list[str] = []


@shared_task
def collect(text: str) -> None:
    """Store ``text`` with the ID of the request."""
    seen.append(f"{text} {g.request_id}")


@shared_task
def fail() -> None:
    """Fail each time."""
    raise RuntimeError("on purpose")


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    seen.clear()
    caplog.set_level(logging.INFO)


def test_job_runs_at_once_in_development(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    job = collect.delay("text")

    assert seen == ["text None"]
    ended = caplog.records[-1]
    assert ended.getMessage() == f"{collect.name} succeeded"
    assert vars(ended)["task_id"] == job.id
    assert vars(ended)["duration_ms"] >= 0


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
        while not seen and monotonic() - begin < 10:
            pass

    assert seen == [f"text {response.headers['X-Request-ID']}"]


def test_job_that_fails_is_repeated_and_then_logged(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    job = fail.apply()

    levels = [record.levelname for record in caplog.records if "failed" in record.getMessage()]
    assert levels == ["WARNING", "WARNING", "WARNING", "ERROR"]
    assert vars(caplog.records[-1])["task_id"] == job.id


def test_request_without_the_queue_is_503_and_logs_the_job(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(QUEUE_URL="redis://127.0.0.1:1")
    app.add_url_rule("/enqueue", view_func=lambda: collect.delay("text").id)
    client = app.test_client()
    begin = monotonic()
    response = client.get("/enqueue")

    assert monotonic() - begin < 10  # on a busy machine; by default, Celery tries for longer
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert f"{collect.name} was not enqueued: " in caplog.text
    assert client.get("/livez").status_code == 200
    assert (client.get("/readyz").json or {})["checks"]["queue"] == "failing"


def test_full_queue_refuses_a_job(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "{{ cookiecutter.project_slug }}.core.worker.is_full",
        lambda _: True,
    )
    app = make_app(QUEUE_URL="memory://")
    app.add_url_rule("/enqueue", view_func=lambda: collect.delay("text").id)

    assert app.test_client().get("/enqueue").status_code == 503
    assert seen == []


def test_commands_of_celery_need_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.settings.QUEUE_URL", None)
    with pytest.raises(SystemExit, match="QUEUE_URL is not set"):
        runpy.run_module("{{ cookiecutter.project_slug }}.make_celery")

    monkeypatch.setattr("config.settings.QUEUE_URL", "memory://")
    made = runpy.run_module("{{ cookiecutter.project_slug }}.make_celery")
    assert made["celery"].tasks[collect.name]


def test_valid_queue_is_required_in_production(problems: Callable[..., dict[str, str]]) -> None:
    assert "QUEUE_URL" not in problems({"APP_ENV": "development"})
    assert "QUEUE_URL" in problems({"APP_ENV": "production"})
    assert "redis://" in problems({"QUEUE_URL": "amqp://localhost"})["QUEUE_URL"]


def test_invalid_number_of_processes_is_rejected(problems: Callable[..., dict[str, str]]) -> None:
    assert "WORKER_CONCURRENCY" in problems({"APP_ENV": "production", "WORKER_CONCURRENCY": "0"})
