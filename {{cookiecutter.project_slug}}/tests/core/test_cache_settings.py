import socket
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from {{ cookiecutter.project_slug }}.core.cache import cache


def test_valid_url_is_required_in_production(problems: Callable[..., dict[str, str]]) -> None:
    assert "REDIS_URL" not in problems({"APP_ENV": "development"})
    assert "REDIS_URL" in problems({"APP_ENV": "production"})
    for url in ("", "localhost", "http://:pass-word@localhost", "redis:///0"):
        assert "pass-word" not in problems({"REDIS_URL": url})["REDIS_URL"]


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://me:a-word@[::1]:6380/1?protocol=3"])
def test_valid_url_is_accepted(
    production: dict[str, str], read_settings: Callable[..., dict[str, Any]], url: str
) -> None:
    assert read_settings(production | {"REDIS_URL": url})["REDIS_URL"] == url


def test_development_needs_no_server(read_settings: Callable[..., dict[str, Any]]) -> None:
    assert read_settings({"APP_ENV": "development", "SECRET_KEY": "short"})["REDIS_URL"] is None


def test_cache_is_at_the_url(make_app: Callable[..., Flask]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        app = make_app(REDIS_URL=f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        app.test_client().get("/readyz")
        server.settimeout(60)
        connection, _ = server.accept()

        assert connection.recv(100)
        connection.close()


def test_values_expire_after_a_minute(make_app: Callable[..., Flask]) -> None:
    backend = make_app().extensions["cache"][cache]

    assert backend.default_timeout == 60
