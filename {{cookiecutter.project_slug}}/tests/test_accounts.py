"""People register, log in and out, and change their address."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from tests.people import EMAIL, NEW, PASSWORD, Links, MakeApp, is_logged_in, log_in, post

from {{ cookiecutter.project_slug }}.core.database import db
from {{ cookiecutter.project_slug }}.users import User


def test_user_registers_and_confirms(client: FlaskClient, links: Links) -> None:
    form = {"email": "Ann@Example.org", "password": PASSWORD, "password_confirm": PASSWORD}
    post(client, "register", **form)
    early = log_in(client)
    confirmed = client.get(links()[-1])
    log_in(client)

    assert early.status_code == 200
    assert confirmed.location == "/account/login"
    assert "ann@example.org" in client.get("/account").text


def test_link_to_confirm_is_sent_again(
    app: Flask, user: User, client: FlaskClient, links: Links
) -> None:
    with app.app_context():
        db.session.execute(update(User).values(confirmed_at=None))
        db.session.commit()

    post(client, "confirm", email=user.email)
    client.get(links()[-1])
    log_in(client)

    assert is_logged_in(client)


def test_user_logs_out_on_all_devices(app: Flask, user_client: FlaskClient) -> None:
    other = app.test_client()
    log_in(other)
    cookie = other.get_cookie("session")
    assert cookie

    post(user_client, "logout")

    assert not is_logged_in(user_client)
    assert not is_logged_in(other)
    other.set_cookie("session", cookie.value)
    assert not is_logged_in(other)


def test_user_stays_logged_in_if_asked_to(client: FlaskClient, user: User) -> None:
    log_in(client, remember="y")

    client.delete_cookie("session")
    assert is_logged_in(client)
    client.delete_cookie("session")
    client.delete_cookie("remember")
    assert not is_logged_in(client)


def test_changed_address_is_confirmed_and_the_old_one_told(
    user_client: FlaskClient, links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    post(user_client, "change-email", email="new@example.org")
    before = user_client.get("/account").text
    user_client.get(links()[-1], buffered=True)

    assert "ann@example.org" in before
    assert "new@example.org" in user_client.get("/account").text
    assert "mail to ann@example.org: Your address for" in caplog.text


def test_client_of_the_api_uses_a_token(app: Flask, user: User) -> None:
    client = app.test_client()
    body = {"email": EMAIL, "password": PASSWORD}
    answer = client.post("/account/login?include_auth_token", json=body).json
    assert answer
    token = answer["response"]["user"]["authentication_token"]
    other = app.test_client()
    header = {"Authentication-Token": token}

    assert other.get("/account/me").status_code == 401
    assert (other.get("/account/me", headers=header).json or {})["email"] == "ann@example.org"
    form = {"password": PASSWORD, "new_password": NEW, "new_password_confirm": NEW}
    post(client, "change", **form)
    assert other.get("/account/me", headers=header).status_code == 401


def test_errors_stand_at_their_fields(client: FlaskClient) -> None:
    page = post(client, "register", email="nobody", password="short", password_confirm="x").text

    for field in ("email", "password", "password_confirm"):
        assert f'aria-describedby="{field}-errors"' in page
        assert f'id="{field}-errors" role="alert"' in page


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("login", {"email", "current-password"}),
        ("register", {"email", "new-password"}),
        ("reset", {"email"}),
    ],
)
def test_fields_help_password_managers(client: FlaskClient, path: str, kinds: set[str]) -> None:
    page = client.get(f"/account/{path}").text
    passwords = re.findall('<input[^>]*name="password[^>]*>', page)

    assert set(re.findall('autocomplete="([^"]+)"', page)) == kinds
    assert all('type="password"' in field for field in passwords)


def test_nobody_has_an_account_at_first(app: Flask) -> None:
    with app.app_context():
        assert db.session.scalars(select(User)).all() == []


def test_registration_can_be_turned_off(make_app: MakeApp) -> None:
    client = make_app(SECURITY_REGISTERABLE=False).test_client()

    assert client.get("/account/register").status_code == 404
    assert "/account/register" not in client.get("/account/login").text


def test_users_are_managed_on_the_command_line(app: Flask, client: FlaskClient) -> None:
    def users(*arguments: str) -> None:
        with app.app_context():
            done = app.test_cli_runner().invoke(args=["users", *arguments])
        assert done.exit_code == 0, done.output

    users("create", "ann@example.org", f"--password={PASSWORD}", "--active")
    with app.app_context():
        assert db.session.scalars(select(User.email)).one() == "ann@example.org"
