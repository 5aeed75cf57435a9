"""PostgreSQL, as bin/backup, bin/drill and bin/restore use it."""

import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from commands import StepError, say, uninterrupted
from programs import run_compose, running

DATABASE = "{{ cookiecutter.project_slug }}"
# One for each process: what a killed program has started does not change the database of the next
RESTORED = f"{{ cookiecutter.project_slug }}_restored_{os.getpid()}"
DROP_RESTORED = """
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
WHERE starts_with(datname, '{{ cookiecutter.project_slug }}_restored_') \\gexec
"""
PSQL = [
    "exec", "-T", "--env=PGOPTIONS=--client-min-messages=warning", "postgres",
    "psql", "--username=postgres", "--no-psqlrc", "--set=ON_ERROR_STOP=1",
    "--quiet", "--tuples-only", "--no-align",
]  # fmt: skip
END_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = '{{ cookiecutter.project_slug }}' \\g /dev/null
"""


def psql(sql: str, database: str = "postgres") -> str:
    """Return what SQL prints in a database."""
    return run_compose(*PSQL, f"--dbname={database}", text=sql)


def connect() -> None:
    """Check that PostgreSQL runs, and drop what a killed program left."""
    try:
        psql(DROP_RESTORED)
    except StepError as error:
        if "is not running" in str(error):
            start = "docker compose up --detach --wait postgres"
            raise StepError(f"PostgreSQL is not running: {start} starts it.") from None
        raise


def drop(database: str) -> None:
    """Drop a database, if it exists, and end its connections."""
    psql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE);')


@contextmanager
def restored(file: Path) -> Iterator[None]:
    """Restore a backup into the database RESTORED, which is dropped at the end."""
    try:
        say(f"Restoring {file} into the new database {RESTORED}")
        with uninterrupted():  # otherwise, PostgreSQL might create it after it was dropped
            create()
        load(file)
        say("Comparing revision and rows")
        compare(file)
        yield
    finally:
        with uninterrupted(), suppress(StepError):
            drop(RESTORED)


def create() -> None:
    """Create the database RESTORED with the rights of the other one: see postgres/init.sql."""
    psql(f"""
        CREATE DATABASE "{RESTORED}" OWNER "{DATABASE}";
        REVOKE ALL ON DATABASE "{RESTORED}" FROM PUBLIC;
    """)


def load(file: Path) -> None:
    """Run the SQL of a backup in the database RESTORED."""
    pipe = {"stdin": subprocess.PIPE}
    try:
        with running(*PSQL, f"--dbname={RESTORED}", "--output=/dev/null", **pipe) as process:
            with gzip.open(file) as script:
                shutil.copyfileobj(script, process.stdin)
            process.stdin.close()
    except StepError as error:
        raise StepError(f"{file} cannot be restored: {error}") from None


def compare(file: Path) -> None:
    """Fail if the database RESTORED has another revision or other rows than the first lines say."""
    with gzip.open(file, "rt", encoding="utf-8", errors="replace") as lines:
        expected = "".join(takewhile(lambda line: line != "--\n", lines))
    found = psql(Path("bin/rows.sql").read_text(encoding="utf-8"), RESTORED)
    if found != expected:
        raise StepError(
            f"{file} does not contain what was backed up.\n"
            f"The database contained:\n{expected}The backup contains:\n{found}"
        )
    say(f"{found}{file} can be restored")


def exchange(former: str, new: str) -> None:
    """Rename the database to ``former``, and ``new`` to the database: both, or none.

    ALTER DATABASE lets nobody connect, and waits five seconds for the end of all connections.
    """
    rename = f"""
        BEGIN;
        ALTER DATABASE "{DATABASE}" RENAME TO "{former}";
        ALTER DATABASE "{new}" RENAME TO "{DATABASE}";
        COMMIT;
    """
    with running(*PSQL, stdin=subprocess.PIPE) as process:
        process.stdin.write(rename.encode())
        process.stdin.close()
        while process.poll() is None:  # clients that connect again at once would block it
            psql(END_CONNECTIONS)
