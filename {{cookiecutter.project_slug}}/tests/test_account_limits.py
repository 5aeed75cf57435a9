"""Guesses, mails and hashes are limited, and no answer tells who has an account."""

import re
from time import time

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.people import NEW_FORM, MakeApp, is_logged_in, log_in, post

from {{ cookiecutter.project_slug }}.core import limits
from {{ cookiecutter.project_slug }}.users import User


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("login", {"password": "wrong"}),
        ("register", NEW_FORM),
        ("reset", {}),
        ("confirm", {}),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_answer_is_the_same_with_and_without_an_account(
    app: Flask, user: User, path: str, form: dict[str, str], as_json: bool
) -> None:
    answers = []
    for email in (user.email, "bob@example.org"):
        client = app.test_client()
        sent = {"email": email, **form}
        encoded = {"json": sent} if as_json else {"data": sent}
        response = client.post(f"/account/{path}", buffered=True, **encoded)
        shown = response.text + client.get("/account/login").text  # with its messages
        shown = re.sub('"csrf_token":"[^"]+"', "", shown.replace(email, ""))
        answers.append((response.status_code, response.location, shown))

    assert answers[0] == answers[1]


@pytest.mark.parametrize("spelling", ["ann@example.org", "ANN@Example.ORG"])
def test_guesses_for_an_account_are_limited(app: Flask, user: User, spelling: str) -> None:
    client = app.test_client()
    statuses = [
        log_in(client, "wrong", email=spelling, sender=f"192.0.2.{n}").status_code
        for n in range(11)
    ]
    right = log_in(client, sender="192.0.2.99")

    assert statuses == [200] * 10 + [429]
    assert right.status_code == 429
    assert 0 < int(right.headers["Retry-After"]) <= 900
    assert log_in(client, email="bob@example.org").status_code == 200


def test_limit_ends(
    app: Flask, user: User, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(11):
        log_in(client, password="wrong")
    later = time() + 901
    monkeypatch.setattr("{{ cookiecutter.project_slug }}.core.limits.time", lambda: later)

    log_in(client)

    assert is_logged_in(client)


def test_limit_holds_for_all_workers(make_app: MakeApp, user: User) -> None:
    clients = [make_app().test_client() for _ in range(3)]

    statuses = [log_in(clients[n % 3], password="wrong").status_code for n in range(12)]

    assert statuses == [200] * 10 + [429] * 2


@pytest.mark.parametrize("senders", [["192.0.2.1"], ["2001:db8::1", "2001:db8::ffff:2"]])
def test_attempts_of_a_client_are_limited(make_app: MakeApp, senders: list[str]) -> None:
    limit = {"address": (3, 900), "account": (10, 900), "mail": (3, 900)}
    client = make_app(ACCOUNT_LIMITS=limit).test_client()

    statuses = [
        log_in(client, email=f"{n}@example.org", sender=senders[n % len(senders)]).status_code
        for n in range(4)
    ]

    assert statuses == [200, 200, 200, 429]
    assert log_in(client, sender="198.51.100.1").status_code == 200


@pytest.mark.parametrize("path", ["reset", "confirm", "register"])
@pytest.mark.parametrize("email", ["ann@example.org", "bob@example.org"])
def test_nobody_is_flooded_with_mails(
    client: FlaskClient, user: User, path: str, email: str
) -> None:
    statuses = [
        post(client, path, f"192.0.2.{n}", email=email, **NEW_FORM).status_code for n in range(4)
    ]

    assert statuses[3] == 429
    assert 429 not in statuses[:3]


def test_nobody_is_flooded_by_changes_of_an_address(user_client: FlaskClient) -> None:
    statuses = [
        post(user_client, "change-email", f"192.0.2.{n}", email="bob@example.org").status_code
        for n in range(4)
    ]

    assert statuses[3] == 429
    assert 429 not in statuses[:3]


@pytest.mark.parametrize("body", [[1], "text", 7])
def test_json_that_is_not_an_object_is_refused(user_client: FlaskClient, body: object) -> None:
    for path in ("login", "register", "reset", "confirm", "change", "verify", "tf-validate"):
        assert user_client.post(f"/account/{path}", json=body).status_code == 400


def test_too_many_hashes_at_once_are_refused(client: FlaskClient, user: User) -> None:
    with limits.hashing, limits.hashing:
        refused = log_in(client)
        assert client.get("/account/login").status_code == 200
        assert post(client, "logout").status_code == 302  # it hashes nothing
    for _ in range(5):
        log_in(client, password="wrong")

    assert refused.status_code == 503
    assert log_in(client).status_code == 302
