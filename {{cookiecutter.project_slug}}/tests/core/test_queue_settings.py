from collections.abc import Callable
from typing import Any


def test_valid_queue_is_required_in_production(problems: Callable[..., dict[str, str]]) -> None:
    assert "QUEUE_URL" not in problems({"APP_ENV": "development"})
    assert "QUEUE_URL" in problems({"APP_ENV": "production"})
    assert "redis://" in problems({"QUEUE_URL": "amqp://localhost"})["QUEUE_URL"]


def test_invalid_number_of_processes_is_rejected(problems: Callable[..., dict[str, str]]) -> None:
    for number in ("0", "65"):
        assert "WORKER_CONCURRENCY" in problems({"WORKER_CONCURRENCY": number})


def test_number_of_processes_is_valid(
    production: dict[str, str], read_settings: Callable[..., dict[str, Any]]
) -> None:
    values = [read_settings(production | one) for one in ({}, {"WORKER_CONCURRENCY": "64"})]

    assert [value["WORKER_CONCURRENCY"] for value in values] == [2, 64]


def test_valid_queue_is_accepted(
    production: dict[str, str], read_settings: Callable[..., dict[str, Any]]
) -> None:
    url = "rediss://me:a-word@[::1]:6380/1"

    assert read_settings(production | {"QUEUE_URL": url})["QUEUE_URL"] == url
