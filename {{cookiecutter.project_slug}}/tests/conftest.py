"""Fixtures for all tests, which run in development mode and use no servers that .env names."""

import os
import runpy
import secrets
from collections.abc import Callable{{ ", Iterator" if cookiecutter.use_postgres }}
from pathlib import Path
from typing import Any

import pytest
from environs import FileAwareEnv
from flask import Flask
from flask.testing import FlaskClient
{% if cookiecutter.use_postgres %}
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateSchema, DropSchema
{% endif %}

from {{ cookiecutter.project_slug }} import create_app
{% if cookiecutter.use_postgres %}
from {{ cookiecutter.project_slug }}.database import db
from {{ cookiecutter.project_slug }}.models import Base
{% endif %}

os.environ["APP_ENV"] = "development"
os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe())
{% if cookiecutter.use_postgres %}


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Create empty databases: SQLite files, or schemas on the PostgreSQL of DATABASE_URL."""
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgresql"):
        yield lambda: f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db"
        return
    engine = create_engine(server)
    schemas: list[str] = []

    def create() -> str:
        schemas.append(f"test_{secrets.token_hex(8)}")
        with engine.begin() as connection:
            connection.execute(CreateSchema(schemas[-1]))
        url = engine.url.update_query_dict({"options": f"-csearch_path={schemas[-1]}"})
        return url.render_as_string(hide_password=False)

    yield create
    with engine.begin() as connection:
        for schema in schemas:
            connection.execute(DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture(scope="session")
def database_url(new_database: Callable[[], str]) -> str:
    """A database with all tables."""
    url = new_database()
    with create_app({"DATABASE_URL": url, "TESTING": True}).app_context():
        db.session.get_bind()
    return url
{% endif %}
