import pytest
from flask import Flask
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }}.core import health


@pytest.fixture
def app(app: Flask) -> Flask:
    app.extensions["health"] = {"good": lambda: None}
    return app


def test_endpoints_return_ok_while_all_checks_succeed(client: FlaskClient) -> None:
    assert client.get("/livez").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ok", "checks": {"good": "ok"}}
    for path in ("/livez", "/readyz"):
        response = client.head(path)
        assert (response.status_code, response.data) == (200, b"")


def test_failed_check_is_named_but_only_the_log_has_the_reason(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    health.add_check(app, "bad", lambda: 1 / 0)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json == {"status": "failing", "checks": {"good": "ok", "bad": "failing"}}
    assert "bad is not ready: division by zero" in caplog.messages
    assert client.get("/livez").json == {"status": "ok"}
