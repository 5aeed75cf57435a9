"""A second factor is asked for, and nothing goes around it."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.people import (
    EMAIL,
    NEW,
    NEW_FORM,
    PASSWORD,
    Links,
    is_logged_in,
    log_in,
    post,
    turn_on,
)


def test_second_factor_is_asked_for_until_it_is_off(app: Flask, user_client: FlaskClient) -> None:
    authenticator = turn_on(user_client)
    client = app.test_client()
    log_in(client)
    before = is_logged_in(client)
    post(client, "tf-validate", code=authenticator.generate().token)

    assert not before
    assert is_logged_in(client)
    post(client, "tf-setup", setup="disable")
    other = app.test_client()
    log_in(other)
    assert is_logged_in(other)


def test_recovery_code_works_once(app: Flask, user_client: FlaskClient) -> None:
    turn_on(user_client)
    page = post(user_client, "mf-recovery-codes", generate_new_codes="y").text
    code = re.findall("[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}", page)[0]
    clients = [app.test_client() for _ in range(2)]
    for client in clients:
        log_in(client)
        post(client, "mf-recovery", code=code)

    assert [is_logged_in(client) for client in clients] == [True, False]


def test_nothing_goes_around_the_second_factor(app: Flask, user_client: FlaskClient) -> None:
    turn_on(user_client)
    client = app.test_client()
    body = {"email": EMAIL, "password": PASSWORD, "remember": True}
    answer = client.post("/account/login?include_auth_token", json=body)

    assert "token" not in answer.text.replace("csrf_token", "")
    assert not client.get_cookie("remember")
    for path in ("account", "account/change", "account/tf-setup", "account/mf-recovery-codes"):
        assert client.get(f"/{path}").status_code == 302
    assert client.get("/account/me").status_code == 401
    for path in ("tf-validate", "mf-recovery"):
        post(client, path, code="000000")
        post(client, path, code="")
    post(client, "tf-setup", setup="disable")
    assert not is_logged_in(client)


def test_new_password_by_mail_does_not_turn_the_second_factor_off(
    app: Flask, user_client: FlaskClient, links: Links
) -> None:
    turn_on(user_client)
    client = app.test_client()
    post(client, "reset", email=EMAIL)
    post(client, links()[0], **NEW_FORM)

    log_in(client, password=NEW)

    assert not is_logged_in(client)


def test_code_works_once(app: Flask, user_client: FlaskClient) -> None:
    code = turn_on(user_client).generate().token
    clients = [app.test_client() for _ in range(2)]
    for client in clients:
        log_in(client)
        post(client, "tf-validate", code=code)

    assert [is_logged_in(client) for client in clients] == [True, False]


@pytest.mark.parametrize("path", ["tf-validate", "mf-recovery"])
def test_guesses_of_a_code_are_limited(app: Flask, user_client: FlaskClient, path: str) -> None:
    turn_on(user_client)
    client = app.test_client()
    log_in(client)

    def guess(n: int) -> int:
        other = f"{n}@example.org"  # must not count for another account
        return post(client, path, f"192.0.2.{n}", code="1", email=other).status_code

    statuses = [guess(n) for n in range(11)]

    assert statuses.index(429) <= 10
