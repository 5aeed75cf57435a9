import logging

import pytest
from flask import Flask

from config.celery import beat_schedule

from {{ cookiecutter.project_slug }}.tasks import example


def test_example_logs_its_text(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    example.delay("text")

    assert "example: text" in caplog.messages


def test_each_entry_of_the_schedule_is_a_task(app: Flask) -> None:
    celery = app.extensions["celery"]
    celery.loader.import_default_modules()

    assert celery.conf.beat_schedule == beat_schedule
    assert {entry["task"] for entry in beat_schedule.values()} <= set(celery.tasks)
