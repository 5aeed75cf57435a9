from collections.abc import Callable
from unittest.mock import MagicMock

from flask import Flask
from prometheus_client import REGISTRY

CLIENT = "connection_for_read.return_value.__enter__.return_value.default_channel.client"


def test_length_of_the_queue_is_measured_while_it_responds(make_app: Callable[..., Flask]) -> None:
    app = make_app(METRICS_TOKEN=None, QUEUE_URL="redis://127.0.0.1:1")
    # The queue of the tests is shared: its length changes
    celery = MagicMock(**{f"{CLIENT}.llen": {"celery": 7}.get})
    app.extensions.update(celery=celery, health={"queue": lambda: None})
    up = app.test_client().get("/metrics")
    app.extensions.update(celery=None, health={"queue": lambda: 1 / 0})
    down = app.test_client().get("/metrics")

    assert (up.status_code, down.status_code) == (200, 200)
    assert REGISTRY.get_sample_value("queue_length") == 7
