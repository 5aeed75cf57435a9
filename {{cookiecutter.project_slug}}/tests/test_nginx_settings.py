from collections.abc import Callable
from typing import Any

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
        ("WEB_REPLICAS", "33"),
        ("HTTP_PORT", "0"),
        ("HTTP_PORT", "65536"),
        ("RATE_BURST", "1000001"),
    ],
)
def test_invalid_setting_is_rejected(
    problems: Callable[..., dict[str, str]], name: str, value: str
) -> None:
    assert name in problems({"APP_ENV": "production", name: value})


def test_defaults_and_valid_values_are_accepted(
    production: dict[str, str], read_settings: Callable[..., dict[str, Any]]
) -> None:
    chosen = {"HTTP_PORT": "80", "RATE_BURST": "0", "RATE_LIMIT": "6r/m", "WEB_REPLICAS": "32"}
    defaults = read_settings(production)
    values = read_settings(production | chosen)

    assert [defaults[name] for name in chosen] == [8080, 100, "50r/s", 1]
    assert [str(values[name]) for name in chosen] == ["80", "0", "6r/m", "32"]
