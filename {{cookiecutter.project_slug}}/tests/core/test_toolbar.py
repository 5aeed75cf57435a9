from collections.abc import Callable

import pytest
from flask import Flask


@pytest.fixture(autouse=True)
def _keep_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service not configure logging, which it does unless it is testing."""
    monkeypatch.setattr(
        "{{ cookiecutter.project_slug }}.core.logs.configure",
        lambda *_: None,
    )


@pytest.mark.parametrize("debug", [True, False])
def test_toolbar_is_shown_in_debug_mode_only(make_app: Callable[..., Flask], debug: bool) -> None:
    response = make_app(TESTING=False, DEBUG=debug).test_client().get("/")

    assert ('id="flDebug"' in response.text) is debug
    assert ("'unsafe-inline'" in response.headers["Content-Security-Policy"]) is debug


def test_untrusted_host_is_rejected_in_debug_mode(make_app: Callable[..., Flask]) -> None:
    client = make_app(TESTING=False, DEBUG=True).test_client()

    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
