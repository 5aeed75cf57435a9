import os
import runpy
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import inspect, text

from {{ cookiecutter.project_slug }}.database import commands, db, engine_options


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


def tables(app: Flask) -> set[str]:
    with app.app_context():
        return set(inspect(db.engine).get_table_names())


def test_migrations_can_be_taken_back_and_made_again(app: Flask, runner: FlaskCliRunner) -> None:
    down = runner.invoke(args=["downgrade", "base"])
    between = tables(app)
    up = runner.invoke(args=["migrate"])

    assert (down.exit_code, up.exit_code) == (0, 0)
    assert "notes" not in between
    assert "notes" in tables(app)


def test_migrations_make_what_the_models_say(app: Flask) -> None:
    with app.app_context():
        commands.alembic("check")


def test_revision_is_written_from_the_models(
    app: Flask, runner: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE notes DROP COLUMN created_at"))
    before = set(commands.MIGRATIONS.glob("versions/*.py"))

    result = runner.invoke(args=["revision", "-m", "Restore the time"])
    [written] = set(commands.MIGRATIONS.glob("versions/*.py")) - before
    source = written.read_text()
    written.unlink()
    runner.invoke(args=["downgrade", "base"])
    runner.invoke(args=["migrate"])

    assert result.exit_code == 0
    assert 'sa.Column("created_at", sa.DateTime(timezone=True)' in source.replace("'", '"')
    compile(source, written.name, "exec")


def test_migration_that_fails_fails_the_command(runner: FlaskCliRunner) -> None:
    result = runner.invoke(args=["migrate", "no-such-revision"])

    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


def test_seed_fills_an_empty_database_once(app: Flask, runner: FlaskCliRunner) -> None:
    outputs = [runner.invoke(args=["seed"]).output for _ in range(2)]

    assert outputs == ["Five notes written.\n", "There are notes already: nothing to do.\n"]
    assert len((app.test_client().get("/notes").json or {})["items"]) == 5


def test_readiness_includes_the_database(
    app: Flask, make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    lost = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/no-such-folder/test.db")

    good, bad = app.test_client().get("/readyz"), lost.test_client().get("/readyz")

    assert (good.status_code, bad.status_code) == (200, 503)
    assert (good.json or {})["checks"]["postgres"] == "ok"
    assert (bad.json or {})["checks"]["postgres"] == "failing"


def test_pool_has_a_connection_for_each_thread_and_one_for_the_probe() -> None:
    url = "postgresql+psycopg://me@localhost/mine?options=-csearch_path%3Dtheirs"

    options = engine_options({"DATABASE_URL": url, "WEB_THREADS": 4})

    assert options["pool_size"] + options["max_overflow"] == 5
    assert "statement_timeout=3000" in options["connect_args"]["options"]
    assert "search_path=theirs" in options["connect_args"]["options"]


@pytest.mark.parametrize("url", [None, "mysql://localhost/mine", "postgresql://localhost:x/mine"])
def test_production_has_to_be_told_where_the_database_is(url: str | None) -> None:
    settings = Path(__file__).parents[2] / "config/settings.py"
    environment = {"APP_ENV": "production"} | ({"DATABASE_URL": url} if url else {})

    with (
        patch.dict(os.environ, environment, clear=True),
        pytest.raises(SystemExit, match="DATABASE_URL: "),
    ):
        runpy.run_path(str(settings))
