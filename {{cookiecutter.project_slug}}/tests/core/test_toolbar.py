from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask


@pytest.fixture(autouse=True)
def _keep_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service not configure logging, which it does unless it is testing."""
    monkeypatch.setattr(
        "{{ cookiecutter.project_slug }}.core.logs.configure",
        lambda *_: None,
    )


@pytest.fixture
def factory(factory: Callable[..., Flask]) -> Callable[..., Flask]:
    """Add a page to the application."""

    def create(settings: dict[str, Any]) -> Flask:
        app = factory(settings)
        app.add_url_rule("/", view_func=lambda: "<body></body>")
        return app

    return create


@pytest.mark.parametrize("debug", [True, False])
def test_toolbar_is_shown_in_debug_mode_only(make_app: Callable[..., Flask], debug: bool) -> None:
    response = make_app(TESTING=False, DEBUG=debug).test_client().get("/")

    assert ('id="flDebug"' in response.text) is debug
    assert ("'unsafe-inline'" in response.headers["Content-Security-Policy"]) is debug


def test_policy_of_the_service_holds_in_debug_mode(make_app: Callable[..., Flask]) -> None:
    app = make_app(TESTING=False, DEBUG=True, STATIC_HOST="https://cdn.example.com")

    policy = app.test_client().get("/").headers["Content-Security-Policy"]

    assert "default-src 'self' 'unsafe-inline' https://cdn.example.com;" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'sha256-" not in policy  # it would turn 'unsafe-inline' off


def test_toolbar_is_closed_until_somebody_opens_it(make_app: Callable[..., Flask]) -> None:
    client = make_app(TESTING=False, DEBUG=True).test_client()

    first, second = (client.get("/").headers.getlist("Set-Cookie") for _ in range(2))

    assert any(cookie.startswith("fldt=hide;") for cookie in first)
    assert second == []


def test_untrusted_host_is_rejected_in_debug_mode(make_app: Callable[..., Flask]) -> None:
    client = make_app(TESTING=False, DEBUG=True).test_client()

    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
