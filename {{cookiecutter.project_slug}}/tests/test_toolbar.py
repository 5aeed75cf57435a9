from collections.abc import Callable

import pytest
from flask import Flask


@pytest.mark.parametrize("debug", [True, False])
def test_toolbar_is_shown_in_debug_mode_only(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    monkeypatch.setattr("{{ cookiecutter.project_slug }}.logs.configure", lambda *_: None)

    response = make_app(TESTING=False, DEBUG=debug).test_client().get("/")

    assert ('id="flDebug"' in response.text) is debug
    assert ("'unsafe-inline'" in response.headers["Content-Security-Policy"]) is debug
