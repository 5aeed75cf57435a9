"""Sessions are not stolen, and nothing secret is logged or stored."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_security.signals import reset_password_instructions_sent
from sqlalchemy import event

from tests.people import NEW, NEW_FORM, PASSWORD, MakeApp, is_logged_in, log_in, post

from {{ cookiecutter.project_slug }}.core.database import db
from {{ cookiecutter.project_slug }}.users import User


def test_cookie_of_the_time_before_the_log_in_gets_no_session(app: Flask, user: User) -> None:
    victim, attacker = app.test_client(), app.test_client()
    attacker.get("/account/login")
    planted = attacker.get_cookie("session")
    assert planted
    victim.set_cookie("session", planted.value)

    log_in(victim)

    assert is_logged_in(victim)
    assert not is_logged_in(attacker)


def test_user_who_is_deactivated_is_out(app: Flask, user_client: FlaskClient) -> None:
    with app.app_context():
        app.test_cli_runner().invoke(args=["users", "deactivate", "ann@example.org"])
    other = app.test_client()
    log_in(other)

    assert not is_logged_in(user_client)
    assert not is_logged_in(other)


def test_responses_are_stored_by_no_cache(user_client: FlaskClient) -> None:
    for path in ("/account", "/account/me", "/account/login", "/account/reset", "/account/change"):
        assert user_client.get(path).headers["Cache-Control"] == "no-store"


def test_log_contains_no_secrets(
    make_app: MakeApp, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[str] = []
    caplog.set_level(logging.DEBUG)
    app = make_app(MAIL_URL="smtp://127.0.0.1:1")

    def remember(sender: Flask, token: str, **_: object) -> None:
        sent.append(token)

    with reset_password_instructions_sent.connected_to(remember, app):
        client = app.test_client()
        post(client, "reset", email=user.email)
    client.get(f"/account/reset/{sent[0]}")
    client.get(f"/account/reset/{sent[0]}/")  # an unknown path
    client.put(f"/account/reset/{sent[0]}")  # a wrong method
    post(client, f"reset/{sent[0]}", **NEW_FORM)
    log_in(client, password=NEW)

    assert is_logged_in(client)
    assert "/account/reset/..." in [vars(record).get("path") for record in caplog.records]
    shown = "\n".join(str(vars(record)) for record in caplog.records)
    assert [secret for secret in (sent[0], PASSWORD, NEW) if secret in shown] == []


@pytest.fixture
def statements(app: Flask) -> Iterator[list[str]]:
    """Return the statements that the database executes."""
    seen: list[str] = []

    def remember(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", remember)
    yield seen
    event.remove(engine, "before_cursor_execute", remember)


def test_page_costs_one_query_more_for_users(
    user_client: FlaskClient, statements: list[str]
) -> None:
    statements.clear()

    assert user_client.get("/account").status_code == 200
    assert len(statements) == 1
