from collections.abc import Callable
from typing import Any

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


def test_defaults_and_valid_values_are_accepted(
    production: dict[str, str], read_settings: Callable[..., dict[str, Any]]
) -> None:
    chosen = {"ACME_CA": "https://ca.internal:9000/acme", "ACME_EMAIL": "you@example.com"}
    defaults = read_settings(production)
    values = read_settings(production | chosen)

    assert defaults["ACME_CA"] == "https://acme-v02.api.letsencrypt.org/directory"
    assert defaults["ACME_EMAIL"] == ""
    assert {name: values[name] for name in chosen} == chosen
