from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "web"),
        ("RATE_BURST", "-1"),
        ("RATE_LIMIT", "50"),
        ("RATE_LIMIT", "0r/s"),
        ("RATE_LIMIT", "5r/h"),
        ("WEB_REPLICAS", "0"),
    ],
)
def test_invalid_setting_is_rejected(
    problems: Callable[..., dict[str, str]], name: str, value: str
) -> None:
    assert name in problems({"APP_ENV": "production", name: value})
