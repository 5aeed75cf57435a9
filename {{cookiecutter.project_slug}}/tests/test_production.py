"""The settings of a complete environment, for production and for development."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

Read = Callable[..., dict[str, Any]]

FALLBACKS = [secrets.token_hex(), secrets.token_hex()]
IN_PRODUCTION = {
    "APP_ENV": "production",
    "PRODUCTION": True,
    "DEBUG": False,
    "SECRET_KEY_FALLBACKS": FALLBACKS,
    "SESSION_COOKIE_NAME": "__Host-session",
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_COOKIE_SECURE": True,
    "PERMANENT_SESSION_LIFETIME": timedelta(hours=12),
    "TRUSTED_HOSTS": ["127.0.0.1", ".shop.example"],
    "TRUSTED_PROXIES": 0,
    "MAX_CONTENT_LENGTH": 1_048_576,
    "STATIC_HOST": "",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "json",
    "PORT": 8000,
    "WEB_CONCURRENCY": None,
    "WEB_THREADS": 8,
    "GRACEFUL_TIMEOUT": 30,
}
IN_DEVELOPMENT = {
    "APP_ENV": "development",
    "PRODUCTION": False,
    "DEBUG": False,
    "SESSION_COOKIE_NAME": "session",
    "SESSION_COOKIE_SECURE": False,
    "TRUSTED_HOSTS": ["localhost", "127.0.0.1"],
    "LOG_FORMAT": "console",
}


def test_complete_environment_is_read_in_production(
    production: dict[str, str], read_settings: Read
) -> None:
    values = read_settings(production | {"SECRET_KEY_FALLBACKS": ", ".join(FALLBACKS)})

    assert {name: values[name] for name in IN_PRODUCTION} == IN_PRODUCTION
    for name in production.keys() - IN_PRODUCTION.keys():
        assert values[name] == production[name]


def test_key_is_enough_in_development(read_settings: Read) -> None:
    values = read_settings({"APP_ENV": "development", "SECRET_KEY": "short"})

    assert {name: values[name] for name in IN_DEVELOPMENT} == IN_DEVELOPMENT


def test_debug_mode_is_for_development(read_settings: Read) -> None:
    values = read_settings(
        {"APP_ENV": "development", "SECRET_KEY": "short", "FLASK_DEBUG": "1"},
    )

    assert values["DEBUG"] is True


def test_only_development_reads_the_env_file(
    production: dict[str, str], read_settings: Read, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("APP_ENV=development\nPORT=9000\nSECRET_KEY=short\n")

    values = [read_settings(one) for one in ({}, {"PORT": "7000"}, {**production})]

    assert [value["APP_ENV"] for value in values] == ["development", "development", "production"]
    assert [value["PORT"] for value in values] == [9000, 7000, 8000]


def test_secret_is_read_from_a_file(
    production: dict[str, str], read_settings: Read, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(f" {FALLBACKS[0]}\n")
    environment = {name: value for name, value in production.items() if name != "SECRET_KEY"}

    values = read_settings(environment | {"SECRET_KEY_FILE": f"{tmp_path}/key"})

    assert values["SECRET_KEY"] == FALLBACKS[0]
