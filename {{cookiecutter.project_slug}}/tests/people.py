"""What tests of accounts share: a user, and what somebody does in a browser."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from time import time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_security import hash_password
from passlib.totp import TOTP
from werkzeug.test import TestResponse

from {{ cookiecutter.project_slug }}.core.database import db
from {{ cookiecutter.project_slug }}.users import User

Links = Callable[[], list[str]]
MakeApp = Callable[..., Flask]
EMAIL, PASSWORD = "ann@example.org", "correct horse battery"
NEW = "another horse battery"
NEW_FORM = {"password": NEW, "password_confirm": NEW}


@pytest.fixture
def user(app: Flask) -> User:
    """Store a user with a confirmed address."""
    with app.app_context():
        values = {"email": EMAIL, "password": hash_password(PASSWORD), "fs_uniquifier": "ann"}
        user = User(confirmed_at=datetime.now(UTC), **values)
        db.session.add(user)
        db.session.commit()
    return user


@pytest.fixture
def user_client(app: Flask, user: User) -> FlaskClient:
    """Return a client that is logged in as ``user``."""
    client = app.test_client()
    log_in(client)
    return client


@pytest.fixture
def links(caplog: pytest.LogCaptureFixture) -> Links:
    """Return a function that returns the paths of the links in all mails, which are logged."""
    caplog.set_level(logging.INFO)
    return lambda: re.findall(r"http://localhost(/account/[\w-]+/\S+)", caplog.text)


def post(client: FlaskClient, path: str, sender: str = "127.0.0.1", **form: str) -> TestResponse:
    """Send a form to a page of accounts, and read the whole response: then, mails are logged."""
    url = path if path.startswith("/") else f"/account/{path}"
    return client.post(url, data=form, environ_base={"REMOTE_ADDR": sender}, buffered=True)


def log_in(client: FlaskClient, password: str = PASSWORD, **form: str) -> TestResponse:
    """Send the form to log in."""
    return post(client, "login", **{"email": EMAIL, "password": password, **form})


def is_logged_in(client: FlaskClient) -> bool:
    """Return whether a client sees the account."""
    return client.get("/account").status_code == 200


def turn_on(client: FlaskClient) -> TOTP:
    """Turn the second factor on with an earlier code, and return the authenticator."""
    page = post(client, "tf-setup", setup="authenticator").text
    authenticator = TOTP(re.findall("<code>([^<]+)</code>", page)[0])
    [path] = re.findall('action="(/account/tf-setup/[^"]+)"', page)
    post(client, path, code=authenticator.generate(time() - 30).token)
    return authenticator
