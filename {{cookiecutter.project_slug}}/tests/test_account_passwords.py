"""Passwords are chosen, replaced and checked."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.people import EMAIL, NEW, NEW_FORM, PASSWORD, Links, MakeApp, is_logged_in, log_in, post

from {{ cookiecutter.project_slug }}.users import User


def test_forgotten_password_is_replaced(app: Flask, user_client: FlaskClient, links: Links) -> None:
    client = app.test_client()
    post(client, "reset", email=EMAIL)
    link = links()[-1]
    post(client, link, **NEW_FORM)

    assert not is_logged_in(user_client)
    log_in(client)
    assert not is_logged_in(client)
    log_in(client, NEW)
    assert is_logged_in(client)


def test_changed_password_ends_other_sessions(app: Flask, user_client: FlaskClient) -> None:
    other = app.test_client()
    log_in(other)

    form = {"password": PASSWORD, "new_password": NEW, "new_password_confirm": NEW}
    post(user_client, "change", **form)

    assert is_logged_in(user_client)
    assert not is_logged_in(other)


def test_wrong_password_changes_nothing(app: Flask, user_client: FlaskClient) -> None:
    form = {"password": "wrong", "new_password": NEW, "new_password_confirm": NEW}
    page = post(user_client, "change", **form).text
    client = app.test_client()
    log_in(client)

    assert 'id="password-errors"' in page
    assert is_logged_in(client)


@pytest.mark.parametrize("cut", [PASSWORD[:-1], PASSWORD.upper(), PASSWORD + " "])
def test_password_is_not_shortened(client: FlaskClient, user: User, cut: str) -> None:
    log_in(client, cut)

    assert not is_logged_in(client)


def test_long_password_is_accepted(client: FlaskClient) -> None:
    long = "correct horse battery " * 5

    page = post(client, "register", email="a@example.org", password=long, password_confirm=long)

    assert page.status_code == 302


@pytest.mark.parametrize("password", ["1234567890", "password123", "qwertyuiop", "ann@example.org"])
def test_common_password_is_refused(client: FlaskClient, password: str) -> None:
    form = {"email": EMAIL, "password": password, "password_confirm": password}

    assert 'id="password-errors"' in post(client, "register", **form).text


def test_link_to_reset_works_once(client: FlaskClient, user: User, links: Links) -> None:
    post(client, "reset", email=user.email)
    post(client, "reset", email=user.email)
    first, second = links()

    post(client, second, **NEW_FORM)
    for used in (first, second):
        answer = post(client, used, password=PASSWORD, password_confirm=PASSWORD)
        assert answer.location == "/account/reset"
    log_in(client)
    assert not is_logged_in(client)
    log_in(client, password=NEW)
    assert is_logged_in(client)


@pytest.mark.parametrize("seconds", [-1, 3_600])
def test_link_works_for_an_hour(make_app: MakeApp, user: User, links: Links, seconds: int) -> None:
    assert make_app().config["SECURITY_RESET_PASSWORD_WITHIN"] == timedelta(hours=1)
    settings = {"SECURITY_RESET_PASSWORD_WITHIN": timedelta(seconds=seconds)}
    client = make_app(**settings).test_client()
    post(client, "reset", email=user.email)

    answer = client.get(links()[0])

    assert answer.location == ("/account/reset" if seconds < 0 else None)


@pytest.mark.parametrize("change", [lambda link: link[:-2] + "xx", lambda link: "reset/e30.a.b"])
def test_forged_link_is_refused(
    client: FlaskClient,
    user: User,
    links: Links,
    change: Callable[[str], str],
) -> None:
    post(client, "reset", email=user.email)

    answer = post(client, change(links()[0]), **NEW_FORM)

    assert answer.location == "/account/reset"
    log_in(client)
    assert is_logged_in(client)


def test_link_for_one_purpose_is_none_for_another(client: FlaskClient, links: Links) -> None:
    post(client, "register", email="bob@example.org", **NEW_FORM)
    token = links()[0].removeprefix("/account/confirm/")

    assert post(client, f"reset/{token}", **NEW_FORM).location == "/account/reset"
