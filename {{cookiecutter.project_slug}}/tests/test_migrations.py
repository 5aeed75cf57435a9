import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Column, Integer, Table, inspect

from {{ cookiecutter.project_slug }}.database import db
from {{ cookiecutter.project_slug }}.models import Base, UTCDateTime

ROOT = Path(__file__).parents[1]


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A copy of the migrations, to which tests may add."""
    source = ROOT / "{{ cookiecutter.project_slug }}/migrations"
    return shutil.copytree(source, tmp_path / "migrations")


@pytest.fixture
def make_app(
    make_app: Callable[..., Flask], new_database: Callable[[], str], migrations: Path
) -> Callable[..., Flask]:
    """Build applications that share an empty database."""
    url = new_database()
    return lambda: make_app(DATABASE_URL=url, ALEMBIC={"script_location": str(migrations)})


@pytest.fixture
def new_table(app: Flask) -> Iterator[str]:
    """A table that the models have and the migrations do not."""
    columns = Column("id", Integer, primary_key=True), Column("time", UTCDateTime)
    table = Table("test_events", Base.metadata, *columns)
    yield table.name
    Base.metadata.remove(table)


def flask_db(app: Flask, *arguments: str) -> int:
    with app.app_context():
        return app.test_cli_runner().invoke(args=["db", *arguments]).exit_code


def tables(app: Flask) -> set[str]:
    with app.app_context():
        return set(inspect(db.engine).get_table_names()) - {"alembic_version"}


def test_migrations_create_the_models_and_can_be_reverted(app: Flask) -> None:
    flask_db(app, "upgrade")
    upgraded, checked = tables(app), flask_db(app, "check")
    flask_db(app, "downgrade", "base")

    assert upgraded == Base.metadata.tables.keys()
    assert checked == 0
    assert tables(app) == set()


def test_revision_holds_the_change_and_is_well_formed(
    app: Flask, new_table: str, migrations: Path
) -> None:
    flask_db(app, "upgrade")
    before = set(migrations.glob("*.py"))
    checks = [flask_db(app, "check")]
    flask_db(app, "revision", "Add events")
    [file] = set(migrations.glob("*.py")) - before
    for command in ("format", "check"):
        ruff = [sys.executable, "-m", "ruff", command, "--no-cache", "--config=pyproject.toml"]
        subprocess.run([*ruff, str(file)], cwd=ROOT, check=True)
    flask_db(app, "upgrade")
    checks.append(flask_db(app, "check"))

    assert checks == [1, 0]
    assert new_table in tables(app)
    assert 'sa.Column("time", sa.DateTime(timezone=True), nullable=True)' in file.read_text()
    flask_db(app, "downgrade")
    assert tables(app) == Base.metadata.tables.keys() - {new_table}


def test_two_upgrades_at_once_make_one(
    app: Flask, make_app: Callable[..., Flask], migrations: Path
) -> None:
    with app.app_context():
        if db.engine.dialect.name != "postgresql":
            pytest.skip("SQLite has no lock that a migration can wait for")
    before = set(migrations.glob("*.py"))
    flask_db(app, "revision", "--empty", "Sleep")
    [file] = set(migrations.glob("*.py")) - before
    change = 'op.execute("SELECT pg_sleep(0.5)")\n    op.create_table("test_slow")'
    file.write_text(file.read_text().replace("pass", change, 1))

    def upgrade(app: Flask) -> None:
        with app.app_context():
            app.extensions["alembic"].upgrade()

    with ThreadPoolExecutor() as pool:
        list(pool.map(upgrade, [make_app(), make_app()]))

    assert tables(app) == Base.metadata.tables.keys() | {"test_slow"}


def test_failed_upgrade_fails_the_command(app: Flask) -> None:
    assert flask_db(app, "upgrade", "no-such-revision") == 1
