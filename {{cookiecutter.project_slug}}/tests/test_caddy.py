from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACME_CA", "authority"),
        ("ACME_CA", "http://authority.example"),
        ("ACME_EMAIL", "me"),
    ],
)
def test_invalid_setting_is_rejected(
    problems: Callable[..., dict[str, str]], name: str, value: str
) -> None:
    assert name in problems({"APP_ENV": "production", name: value})
