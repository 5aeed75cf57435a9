from collections.abc import Callable

import pytest
import sentry_sdk
from flask import Flask, g

from shop.error_tracking import add_request_id


def test_error_has_the_request_id(app: Flask) -> None:
    with app.app_context():
        g.request_id = "of-this-request"
        event = add_request_id({}, {})

    assert event["tags"] == {"request_id": "of-this-request"}
    assert add_request_id({}, {}) == {}


def test_nothing_is_reported_without_an_address(app: Flask) -> None:
    assert not sentry_sdk.get_client().is_active()


@pytest.mark.parametrize(
    "dsn", ["sentry.example.com", "https://sentry.example.com/1", "https://k@h/"]
)
def test_invalid_address_is_refused(
    production: dict[str, str], problems: Callable[..., dict[str, str]], dsn: str
) -> None:
    assert problems(production | {"SENTRY_DSN": "https://key@sentry.example.com/1"}) == {}
    assert problems(production | {"SENTRY_DSN": dsn}).keys() == {"SENTRY_DSN"}
