from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import text

from shop.core import database
from shop.core.database import db

TIMEOUTS = {
    "max_statement_time": 3,
    "lock_wait_timeout": 2,
    "innodb_lock_wait_timeout": 2,
    "idle_transaction_timeout": 10,
}


@pytest.fixture
def mariadb(app: Flask) -> Flask:
    with app.app_context():
        if db.engine.dialect.name != "mariadb":
            pytest.skip("SQLite has no server")
    return app


def test_timeouts_are_those_of_the_database(mariadb: Flask) -> None:
    with mariadb.app_context():
        shown = {name: db.session.scalar(text(f"SELECT @@{name}")) for name in TIMEOUTS}

    assert shown == TIMEOUTS


def test_closed_connection_is_replaced(mariadb: Flask) -> None:
    with mariadb.app_context(), db.engine.connect() as other:
        lost = db.session.scalar(text("SELECT connection_id()"))
        db.session.commit()
        other.execute(text(f"KILL {lost}"))

        assert db.session.scalar(text("SELECT connection_id()")) != lost


def test_engine_has_timeouts_and_a_connection_for_each_thread() -> None:
    options = database.engine_options("mariadb+pymysql://me@localhost/mine", threads=4)

    arguments = options.pop("connect_args")
    assert [arguments[f"{name}_timeout"] for name in ("connect", "read", "write")] == [2, 4, 4]
    del options["url"]
    assert options == {"pool_size": 4, "max_overflow": 2, "pool_timeout": 2, "pool_pre_ping": True}


def test_application_uses_these_options(make_app: Callable[..., Flask]) -> None:
    app = make_app(DATABASE_URL="mariadb+pymysql://me@127.0.0.1:1/mine", WEB_THREADS=3)

    with app.app_context():
        assert db.engine.pool.status().startswith("Pool size: 3 ")
