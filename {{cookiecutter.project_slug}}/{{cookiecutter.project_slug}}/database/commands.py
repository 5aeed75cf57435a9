"""``flask migrate``, ``revision``, ``downgrade`` and ``seed``."""

import logging
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).with_name("migrations")


def alembic(name: str, *args: Any, **options: Any) -> None:
    """Run a command of Alembic; a failure is a message and exit code 1."""
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    # Here, because only these commands need it: the service starts faster without.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        getattr(command, name)(config, *args, **options)
    except (CommandError, SQLAlchemyError) as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.argument("revision", default="head")
@with_appcontext
def migrate(revision: str) -> None:
    """Bring the database up to REVISION, by default the newest."""
    try:
        alembic("upgrade", revision)
    except click.ClickException as failure:
        newer = revision == "head" and failure.message.startswith("Can't locate revision")
        if not (newer and current_app.config["PRODUCTION"]):
            raise
        # An earlier version is deployed again, and the tables of a later one have what it needs.
        logger.warning("The database is newer than this version, and stays so: %s", failure)


@click.command()
@click.argument("revision", default="-1")
@with_appcontext
def downgrade(revision: str) -> None:
    """Take the database back to REVISION, by default by one step."""
    alembic("downgrade", revision)


@click.command()
@click.option("-m", "--message", required=True, help="What changes.")
@with_appcontext
def revision(message: str) -> None:
    """Write a migration from the differences between models and database."""
    alembic("revision", message=message, autogenerate=True)


@click.command()
@with_appcontext
def seed() -> None:
    """Fill an empty database with something to look at."""
    from . import db
    from .models import Note

    if db.session.query(Note).first():
        click.echo("There are notes already: nothing to do.")
        return
    db.session.add_all(Note(title=f"Note {n}", body="An example.") for n in range(1, 6))
    db.session.commit()
{% if cookiecutter.use_redis %}
    current_app.extensions["cache"]["notes"].renew()
{% endif %}
    click.echo("Five notes written.")


ALL = [migrate, downgrade, revision, seed]
