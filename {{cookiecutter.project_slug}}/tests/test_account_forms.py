"""Forms are not forged, and lead nobody to another site."""

import re
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_login import login_required

from tests.people import EMAIL, NEW_FORM, PASSWORD, MakeApp, is_logged_in, log_in, post

from {{ cookiecutter.project_slug }}.users import User


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "\\\\evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        "http://localhost@evil.example/",
    ],
)
def test_nobody_is_redirected_to_another_site(app: Flask, user: User, target: str) -> None:
    for given in ({"query_string": {"next": target}}, {"data": {"next": target}}):
        client = app.test_client()
        form = {"email": user.email, "password": PASSWORD, **given.get("data", {})}
        query = given.get("query_string")
        location = client.post("/account/login", data=form, query_string=query).location or "/"

        reached = urljoin("http://localhost/account/login", location.replace("\\", "/"))
        assert urlsplit(reached)[:2] == ("http", "localhost")


@pytest.fixture
def strict(make_app: MakeApp, user: User) -> FlaskClient:
    """Return a client of a service that checks CSRF tokens."""
    return make_app(WTF_CSRF_ENABLED=True, SECURITY_LOGOUT_CSRF=True).test_client()


def token_in(page: str) -> str:
    return re.findall('name="csrf_token"[^>]*value="([^"]+)"', page)[0]


def log_in_with_token(client: FlaskClient) -> str:
    """Log in, and return the token of the page to log in."""
    token = token_in(client.get("/account/login").text)
    assert log_in(client, csrf_token=token).status_code == 302
    return token


@pytest.mark.parametrize("path", ["login", "register", "reset", "confirm"])
def test_form_without_a_token_is_refused(strict: FlaskClient, path: str) -> None:
    assert post(strict, path, email=EMAIL, **NEW_FORM).status_code == 400


@pytest.mark.parametrize(
    "path", ["change", "change-email", "tf-setup", "mf-recovery-codes", "delete", "verify"]
)
def test_form_of_a_user_without_a_token_is_refused(strict: FlaskClient, path: str) -> None:
    log_in_with_token(strict)

    assert post(strict, path, password=PASSWORD, setup="authenticator").status_code == 400


def test_other_site_logs_nobody_out(strict: FlaskClient) -> None:
    log_in_with_token(strict)

    post(strict, "logout")

    assert is_logged_in(strict)


def test_token_of_the_time_before_the_log_in_is_refused(strict: FlaskClient) -> None:
    token = log_in_with_token(strict)

    assert post(strict, "delete", csrf_token=token).status_code == 400
    page = strict.get("/account").text
    assert post(strict, "logout", csrf_token=token_in(page)).status_code == 302
    assert not is_logged_in(strict)


def test_view_of_flask_login_needs_the_token(make_app: MakeApp, user: User) -> None:
    app = make_app(WTF_CSRF_ENABLED=True)
    app.add_url_rule("/orders", "order", login_required(lambda: "ordered"), methods=["POST"])
    client = app.test_client()
    log_in_with_token(client)
    header = {"X-CSRFToken": token_in(client.get("/account").text)}

    assert client.post("/orders").status_code == 400
    assert client.post("/orders", headers=header).text == "ordered"
