import pytest
from authlib.integrations.flask_client import OAuthError
from flask import redirect
from flask.testing import FlaskClient
from requests import RequestException

from shop.auth import oauth


def test_user_logs_in_and_out(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = {"userinfo": {"sub": "7", "name": "Ada"}}
    monkeypatch.setattr(oauth.oidc, "authorize_redirect", redirect)
    monkeypatch.setattr(oauth.oidc, "authorize_access_token", lambda: claims)

    assert client.get("/profile").location == "/login"
    assert client.get("/login").location == "http://localhost/login/callback"
    assert client.get("/login/callback").location == "http://localhost/profile"
    assert "Ada" in client.get("/profile").text
    assert client.post("/logout").location == "/"
    assert client.get("/profile", headers={"Accept": "application/json"}).status_code == 401


@pytest.mark.parametrize(("error", "status"), [(OAuthError, 400), (RequestException, 503)])
def test_login_fails(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: int
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(oauth.oidc, "authorize_access_token", fail)

    assert client.get("/login/callback").status_code == status
