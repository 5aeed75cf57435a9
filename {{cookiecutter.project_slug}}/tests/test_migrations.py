import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Column, Connection, Engine, Integer, Table, event, inspect

from {{ cookiecutter.project_slug }}.core.database import Base, UTCDateTime, db

ROOT = Path(__file__).parents[1]
MIGRATIONS = ROOT / "{{ cookiecutter.project_slug }}/migrations"

TIMEOUTS = ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]

Settings = dict[str, object]


@pytest.fixture
def settings(settings: Settings, new_database: Callable[[], str], tmp_path: Path) -> Settings:
    """Use an empty database, and a copy of the migrations that tests can extend."""
    copy = {"script_location": str(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))}
    return settings | {"ALEMBIC": copy, "DATABASE_URL": new_database()}


@pytest.fixture
def new_table(app: Flask) -> Iterator[str]:
    """Add a table to the models that no migration creates."""
    columns = Column("id", Integer, primary_key=True), Column("time", UTCDateTime)
    table = Table("test_events", Base.metadata, *columns)
    yield table.name
    Base.metadata.remove(table)


def flask_db(app: Flask, *arguments: str) -> int:
    with app.app_context():
        return app.test_cli_runner().invoke(args=["db", *arguments]).exit_code


def new_revision(app: Flask, *options: str) -> Path:
    migrations = Path(app.config["ALEMBIC"]["script_location"])
    before = set(migrations.glob("*.py"))
    assert flask_db(app, "revision", "A change", *options) == 0
    [file] = set(migrations.glob("*.py")) - before
    return file


def tables(app: Flask) -> set[str]:
    with app.app_context():
        return set(inspect(db.engine).get_table_names()) - {"alembic_version"}


def test_no_migration_is_missing(app: Flask) -> None:
    codes = [flask_db(app, "upgrade"), flask_db(app, "check")]

    assert codes == [0, 0], 'a table has changed: run make revision m="what changed"'


def test_migrations_can_be_reverted_and_repeated(app: Flask) -> None:
    codes = [flask_db(app, "upgrade")]
    upgraded = tables(app)
    codes += [flask_db(app, "downgrade", "base")]
    reverted = tables(app)
    codes += [flask_db(app, "upgrade"), flask_db(app, "upgrade", "no-such-revision")]

    assert codes == [0, 0, 0, 1]
    assert upgraded == tables(app) >= reverted
    assert reverted == set()


def test_revision_contains_the_change_and_passes_ruff(app: Flask, new_table: str) -> None:
    codes = [flask_db(app, "upgrade"), flask_db(app, "check")]
    file = new_revision(app)
    for command in ("format", "check"):
        ruff = [sys.executable, "-m", "ruff", command, "--no-cache", "--config=pyproject.toml"]
        subprocess.run([*ruff, str(file)], cwd=ROOT, check=True)
    codes += [flask_db(app, "upgrade"), flask_db(app, "check")]

    assert codes == [0, 1, 0, 0]
    assert new_table in tables(app)
    assert 'sa.Column("time", sa.DateTime(timezone=True), nullable=True)' in file.read_text()


def test_concurrent_upgrades_run_once(app: Flask, settings: Settings) -> None:
    with app.app_context():
        if db.engine.dialect.name != "postgresql":
            pytest.skip("SQLite has no lock for migrations")
    file = new_revision(app, "--empty")
    change = 'op.execute("SELECT pg_sleep(1)")\n    op.create_table("test_slow")'
    file.write_text(file.read_text().replace("pass", change, 1))
    code = f"from {{ cookiecutter.project_slug }} import create_app; app = create_app({settings})\n"
    code += "with app.app_context(): app.extensions['alembic'].upgrade()"

    upgrades = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]

    assert [upgrade.wait(timeout=60) for upgrade in upgrades] == [0, 0]
    assert "test_slow" in tables(app)


def test_column_of_a_table_can_be_changed(app: Flask, new_table: str) -> None:
    codes = [flask_db(app, "upgrade")]
    with app.app_context():
        Base.metadata.create_all(db.engine)
    time = Column("time", UTCDateTime, nullable=False)
    Table(new_table, Base.metadata, time, extend_existing=True)
    new_revision(app)
    codes += [flask_db(app, "upgrade"), flask_db(app, "check"), flask_db(app, "downgrade", "base")]

    assert codes == [0, 0, 0, 0]


def test_migration_waits_for_others_but_hardly_for_a_table(app: Flask) -> None:
    with app.app_context():
        if db.engine.dialect.name != "postgresql":
            pytest.skip("SQLite has no lock for migrations")
    seen = []

    def observe(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if "pg_advisory_xact_lock" in statement or "CREATE TABLE" in statement:
            shown = [cursor.execute(f"SHOW {name}").fetchone() for name in TIMEOUTS]
            seen.append([value for [value] in shown])

    event.listen(Engine, "before_cursor_execute", observe)
    flask_db(app, "upgrade")
    event.remove(Engine, "before_cursor_execute", observe)

    assert seen[0] == ["5min", "0", "0"]
    assert seen[1:] == [["5s", "0", "0"]] * len(seen[1:])
