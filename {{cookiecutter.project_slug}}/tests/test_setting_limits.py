"""What each setting accepts."""

from collections.abc import Callable
from typing import Any

import pytest

Read = Callable[..., dict[str, Any]]
Problems = Callable[..., dict[str, str]]

NUMBERS = [
    ("TRUSTED_PROXIES", 0, 8),
    ("MAX_CONTENT_LENGTH", 1, 2**40),
    ("PORT", 1, 65_535),
    ("WEB_CONCURRENCY", 1, 64),
    ("WEB_THREADS", 1, 256),
    ("GRACEFUL_TIMEOUT", 1, 3_600),
]
VALID = [
    ("STATIC_HOST", "https://cdn.example.com"),
    ("STATIC_HOST", "http://localhost:8000"),
    ("BIND_ADDRESS", "10.0.0.7"),
    ("BIND_ADDRESS", "[fd00::1]"),
    *(("LOG_LEVEL", level) for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    ("LOG_FORMAT", "console"),
    ("LOG_FORMAT", "json"),
]


@pytest.mark.parametrize(("name", "lowest", "highest"), NUMBERS)
def test_number_has_to_be_within_its_limits(
    production: dict[str, str], problems: Problems, name: str, lowest: int, highest: int
) -> None:
    tried = lowest - 1, lowest, highest, highest + 1

    found = [name in problems(production | {name: str(number)}) for number in tried]

    assert found == [True, False, False, True]


@pytest.mark.parametrize(("name", "value"), VALID)
def test_valid_value_is_accepted(
    production: dict[str, str], read_settings: Read, name: str, value: str
) -> None:
    values = read_settings(production | {name: value})

    assert values[name] == value


@pytest.mark.parametrize(
    ("key", "is_strong"),
    [
        ("abcdefghij" * 3 + "ab", True),
        ("abcdefghij" * 3 + "a", False),
        ("abcdefghi" * 4, False),
        ("Change-me-abcdefghijklmnopqrstuvwxyz", False),
        ("an-EXAMPLE-abcdefghijklmnopqrstuvwxyz", False),
        ("a-secret-abcdefghijklmnopqrstuvwxyz", False),
    ],
)
def test_key_is_long_and_random(
    production: dict[str, str], problems: Problems, key: str, is_strong: bool
) -> None:
    names = {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}

    found = problems(production | dict.fromkeys(names, key))

    assert found.keys() == (set() if is_strong else names)
