"""Fixtures for all tests, which run in development mode."""

import os
import runpy
import secrets
{% if cookiecutter.use_postgres %}
from collections.abc import Callable, Iterator
{% else %}
from collections.abc import Callable
{% endif %}
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
{% if cookiecutter.use_postgres %}
from sqlalchemy import Engine, create_engine, text
{% endif %}

{% if cookiecutter.use_accounts %}
from tests.people import links, user, user_client  # noqa: F401 fixtures for all tests

{% endif %}
from {{ cookiecutter.project_slug }} import create_app
{% if cookiecutter.use_postgres %}
from {{ cookiecutter.project_slug }}.core.database import Base, db
{% endif %}

os.environ["APP_ENV"] = "development"
os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe())


@pytest.fixture
def factory() -> Callable[..., Flask]:
    """Return what creates the application; that of tests/core/ creates one without your code."""
    return create_app


@pytest.fixture
def settings() -> dict[str, Any]:
    """Return settings that tests need; the others come from .env, or are defaults."""
    return {
{% if cookiecutter.use_redis %}
        "CACHE_KEY_PREFIX": f"test-{secrets.token_hex(8)}:",
        "REDIS_URL": os.environ.get("REDIS_URL"),
{% endif %}
        "DEBUG": False,
        "MAX_CONTENT_LENGTH": 100_000,
{% if cookiecutter.use_worker %}
        "QUEUE_URL": None,
{% endif %}
{% if cookiecutter.use_accounts %}
        "MAIL_URL": "",
        "SECURITY_LOGOUT_CSRF": False,
{% endif %}
        "TESTING": True,
        "TRUSTED_HOSTS": ["localhost"],
        "TRUSTED_PROXIES": 0,
{% if cookiecutter.use_accounts %}
        "WTF_CSRF_ENABLED": False,
{% endif %}
    }
{% if cookiecutter.use_postgres %}


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Create empty databases: SQLite files, or schemas in the PostgreSQL of DATABASE_URL."""
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgresql"):
        yield lambda: f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db"
        return
    engine = create_engine(server)
    schemas: list[str] = []

    def create() -> str:
        schemas.append(f"test_{secrets.token_hex(8)}")
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {schemas[-1]}"))
        url = engine.url.update_query_dict({"options": f"-csearch_path={schemas[-1]}"})
        return url.render_as_string(hide_password=False)

    yield create
    with engine.begin() as connection:
        for schema in schemas:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(scope="session")
def database(new_database: Callable[[], str]) -> Iterator[Engine]:
    """Create all tables once, as the migrations do."""
    app = create_app({"DATABASE_URL": new_database(), "TESTING": True})
    with app.app_context():
        app.extensions["alembic"].upgrade()
        if app.extensions["alembic"].compare_metadata():  # test_migrations.py says what is missing
            Base.metadata.drop_all(db.engine)
            Base.metadata.create_all(db.engine)
        engine = db.engine
    yield engine
    engine.dispose()


@pytest.fixture
def make_app(
    factory: Callable[..., Flask], settings: dict[str, Any], database: Engine
) -> Iterator[Callable[..., Flask]]:
    """Create applications with additional settings, on a database with empty tables."""
    url = database.url.render_as_string(hide_password=False)
    apps: list[Flask] = []

    def make(**further: Any) -> Flask:
        apps.append(factory({"DATABASE_URL": url, **settings, **further}))
        return apps[-1]

    yield make
    for app in apps:
        with app.app_context():
            db.engine.dispose()
    with database.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
{% else %}


@pytest.fixture
def make_app(factory: Callable[..., Flask], settings: dict[str, Any]) -> Callable[..., Flask]:
    """Create applications with additional settings."""
    return lambda **further: factory(settings | further)
{% endif %}


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def production() -> dict[str, str]:
    """Return the environment of a service in production."""
    return {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_hex(),
        "TRUSTED_HOSTS": "127.0.0.1, .shop.example",
{% if cookiecutter.use_postgres %}
        "DATABASE_URL": "postgresql+psycopg://shop@127.0.0.1:1/shop",
{% endif %}
{% if cookiecutter.use_redis %}
        "REDIS_URL": "redis://127.0.0.1:1/0",
{% endif %}
{% if cookiecutter.use_worker %}
        "QUEUE_URL": "redis://127.0.0.1:1/1",
{% endif %}
{% if cookiecutter.use_metrics %}
        "METRICS_TOKEN": secrets.token_hex(),
{% endif %}
{% if cookiecutter.use_accounts %}
        "ACCOUNTS_KEY": secrets.token_hex(),
        "MAIL_FROM": "shop@shop.example",
        "MAIL_URL": "smtps://shop:secret@127.0.0.1:1",
{% endif %}
    }


@pytest.fixture
def read_settings(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return the settings of an environment; .env would be in ``tmp_path``."""
    (tmp_path / "config").symlink_to(Path(__file__).parents[1] / "config")

    def read(environment: dict[str, str]) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "environ", environment)
            return runpy.run_path(str(tmp_path / "config/settings.py"))

    return read


@pytest.fixture
def problems(read_settings: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, str]]:
    """Return the errors in the settings of an environment, by variable."""

    def find(environment: dict[str, str]) -> dict[str, str]:
        try:
            read_settings(environment)
        except SystemExit as stop:
            return dict(line.strip().split(": ", 1) for line in str(stop).splitlines()[1:])
        return {}

    return find
