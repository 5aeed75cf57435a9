from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from {{ cookiecutter.project_slug }}.core import database
from {{ cookiecutter.project_slug }}.core.database import db

TIMEOUTS = {
    "statement_timeout": "3s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}


@pytest.fixture
def postgres(app: Flask) -> Flask:
    with app.app_context():
        if db.engine.dialect.name != "postgresql":
            pytest.skip("SQLite has no server")
    return app


def test_timeouts_are_those_of_the_database(postgres: Flask) -> None:
    with postgres.app_context():
        shown = {name: db.session.scalar(text(f"SHOW {name}")) for name in TIMEOUTS}

    assert shown == TIMEOUTS


def test_one_transaction_can_have_another_timeout(postgres: Flask) -> None:
    limits = []
    with postgres.app_context():
        for statement in ("SELECT", "SET LOCAL statement_timeout = '30s'", "COMMIT"):
            db.session.execute(text(statement))
            limits.append(db.session.scalar(text("SHOW statement_timeout")))

    assert limits == ["3s", "30s", "3s"]


def test_closed_connection_is_replaced(postgres: Flask) -> None:
    with postgres.app_context(), db.engine.connect() as other:
        lost = db.session.scalar(text("SELECT pg_backend_pid()"))
        db.session.commit()
        other.execute(text(f"SELECT pg_terminate_backend({lost})"))

        assert db.session.scalar(text("SELECT pg_backend_pid()")) != lost


def test_engine_has_timeouts_and_a_connection_for_each_thread() -> None:
    url = "postgresql+psycopg://me@localhost/mine?options=-csearch_path%3Dtheirs"

    options = database.engine_options(url, threads=4)

    arguments = options["connect_args"]
    given = arguments.pop("options").replace("-c ", "-c").split()
    assert given[:-1] == [f"-c{name}={value}" for name, value in TIMEOUTS.items()]
    assert given[-1] == "-csearch_path=theirs"
    assert arguments == {
        "connect_timeout": 2,
        "tcp_user_timeout": 2000,
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        "keepalives_count": 2,
    }
    del options["connect_args"], options["url"]
    pool = {"pool_size": 4, "max_overflow": 2, "pool_timeout": 2, "pool_pre_ping": True}
    assert options.items() >= pool.items()


def test_application_uses_these_options(make_app: Callable[..., Flask]) -> None:
    app = make_app(DATABASE_URL="postgresql+psycopg://me@127.0.0.1:1/mine", WEB_THREADS=3)

    with app.app_context():
        assert db.engine.pool.status().startswith("Pool size: 3 ")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost/shop",
        "postgresql+psycopg://me:a-word@[::1]:5432/shop?sslmode=require",
        "sqlite:///shop.db",
    ],
)
def test_valid_url_is_accepted(
    production: dict[str, str], read_settings: Callable[..., dict[str, Any]], url: str
) -> None:
    assert read_settings(production | {"DATABASE_URL": url})["DATABASE_URL"] == url


def test_development_needs_no_server(read_settings: Callable[..., dict[str, Any]]) -> None:
    values = read_settings({"APP_ENV": "development", "SECRET_KEY": "short"})

    assert values["DATABASE_URL"] == "sqlite:///{{ cookiecutter.project_slug }}.db"
