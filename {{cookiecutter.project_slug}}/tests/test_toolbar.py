from collections.abc import Callable

import pytest
from flask import Flask

from {{ cookiecutter.project_slug }} import logs

DEBUGGING = {"TESTING": False, "DEBUG": True}


@pytest.fixture(autouse=True)
def _leave_logging_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "configure", lambda level, form: None)


def test_toolbar_is_there_in_debug_mode(make_app: Callable[..., Flask]) -> None:
    response = make_app(**DEBUGGING).test_client().get("/")

    assert 'id="flDebug"' in response.text
    assert "'unsafe-inline'" in response.headers["Content-Security-Policy"]


def test_toolbar_is_not_there_otherwise(make_app: Callable[..., Flask]) -> None:
    response = make_app(TESTING=False, DEBUG=False).test_client().get("/")

    assert "flDebug" not in response.text
    assert "'unsafe-inline'" not in response.headers["Content-Security-Policy"]
