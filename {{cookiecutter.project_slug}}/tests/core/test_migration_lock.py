"""What can be seen without a server; tests/test_migrations.py asks PostgreSQL, if there is one."""

from unittest.mock import MagicMock

from sqlalchemy import create_engine, event

from {{ cookiecutter.project_slug }}.core import migrations


def test_migrations_on_postgresql_take_the_lock() -> None:
    engine = create_engine("postgresql+psycopg://me@127.0.0.1:1/mine")

    own = migrations.engine_without_timeouts(engine)

    assert event.contains(own, "begin", migrations.lock)
    assert not event.contains(engine, "begin", migrations.lock)


def test_migration_waits_minutes_for_the_lock_but_seconds_for_a_table() -> None:
    connection = MagicMock()

    migrations.lock(connection)

    statements = [call.args[0] for call in connection.exec_driver_sql.call_args_list]
    assert statements == [
        "SET LOCAL lock_timeout = '5min'",
        "SELECT pg_advisory_xact_lock(7165219)",
        "SET LOCAL lock_timeout = '5s'",
    ]
