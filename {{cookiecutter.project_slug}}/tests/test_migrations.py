import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Column, Integer, Table, inspect

from {{ cookiecutter.project_slug }}.core.database import Base, UTCDateTime, db

ROOT = Path(__file__).parents[1]
MIGRATIONS = ROOT / "{{ cookiecutter.project_slug }}/migrations"

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


def test_migrations_create_the_models_and_can_be_reverted(app: Flask) -> None:
    codes = [flask_db(app, "upgrade", "no-such-revision")]
    codes += [flask_db(app, "upgrade"), flask_db(app, "check")]
    upgraded = tables(app)
    codes.append(flask_db(app, "downgrade", "base"))

    assert codes == [1, 0, 0, 0]
    assert upgraded == Base.metadata.tables.keys()
    assert tables(app) == set()


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
    assert tables(app) == Base.metadata.tables.keys() | {"test_slow"}
