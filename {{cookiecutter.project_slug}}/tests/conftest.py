"""What all tests share. They run in development, whatever .env says about the rest."""

import os
import secrets
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }} import create_app

os.environ.setdefault("APP_ENV", "development")
os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe())

SETTINGS = {
    "MAX_CONTENT_LENGTH": 100_000,
    "TESTING": True,
    "TRUSTED_HOSTS": ["localhost"],
    "TRUSTED_PROXIES": 0,
}


@pytest.fixture
def make_app() -> Callable[..., Flask]:
    return lambda **settings: create_app(SETTINGS | settings)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def json_client(client: FlaskClient) -> FlaskClient:
    client.environ_base["HTTP_ACCEPT"] = "application/json"
    return client
