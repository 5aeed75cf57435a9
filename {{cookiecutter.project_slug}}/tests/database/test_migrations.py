import os
import runpy
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import patch

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import inspect, text
from sqlalchemy.exc import StatementError

from {{ cookiecutter.project_slug }}.database import commands, db, engine_options
from {{ cookiecutter.project_slug }}.database.models import Note


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


@pytest.mark.parametrize(("production", "code"), [(True, 0), (False, 1)])
def test_database_that_is_newer_stays_so_in_production(
    app: Flask, runner: FlaskCliRunner, production: bool, code: int
) -> None:
    app.config["PRODUCTION"] = production
    move = "UPDATE alembic_version SET version_num = :to"
    with app.app_context(), db.engine.begin() as connection:
        newest = connection.scalar(text("SELECT version_num FROM alembic_version"))
        connection.execute(text(move), {"to": "later"})

    result = runner.invoke(args=["migrate"])
    wrong = runner.invoke(args=["migrate", "no-such-revision"])
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text(move), {"to": newest})

    assert result.exit_code == code
    assert wrong.exit_code == 1


def test_point_in_time_is_kept_in_utc(app: Flask) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    with app.app_context():
        note = Note(title="Noon", body="", created_at=noon)
        db.session.add(note)
        db.session.commit()
        db.session.expire(note)

        assert note.created_at == noon
        assert note.created_at.utcoffset() == timedelta(0)

        db.session.add(Note(title="When?", body="", created_at=datetime(2026, 1, 1)))
        with pytest.raises(StatementError, match="needs a time zone"):
            db.session.commit()
        db.session.rollback()


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
