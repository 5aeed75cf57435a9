"""Backups of the database: complete or absent, restored as they were, and checked by a drill."""

import gzip
import os
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import ENVIRONMENT, FULL, run
from stacks import report, trial, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker-untimed")]

ROWS = 100_000
# Each transaction adds a row to both tables, and services read them as notes.
SCHEMA = f"""
CREATE TABLE copies (note int REFERENCES notes);
ALTER TABLE copies OWNER TO "user";
CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO copies VALUES (NEW.id); RETURN NULL; END';
CREATE TRIGGER copy AFTER INSERT ON notes FOR EACH ROW EXECUTE FUNCTION copy();
INSERT INTO notes (title, body, created_at)
    SELECT 'note ' || n, repeat('some text ', 20), now() FROM generate_series(1, {ROWS}) n;
"""
COUNTS = "SELECT count(*), (SELECT count(*) FROM copies), max(id) FROM notes"
RIGHTS = """SELECT DISTINCT tableowner, datacl FROM pg_tables, pg_database
    WHERE schemaname = 'public' AND datname = 'user'"""
END_DUMP = """DO $$ BEGIN LOOP
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'pg_dump' AND query LIKE 'COPY public%';
    EXIT WHEN FOUND; PERFORM pg_stat_clear_snapshot(); PERFORM pg_sleep(0.001);
END LOOP; END $$"""


@pytest.fixture(scope="module")
def stack(engine, cookies_session):
    """Start a stack with all services that a restore stops, and many notes."""
    with trial(cookies_session, FULL | {"use_worker": True}, "backup", 8220) as stack:
        with (stack.project / ".env").open("a") as settings:
            settings.write("COMPOSE_FILE=compose.yaml\nRATE_LIMIT=100000r/s\nRATE_BURST=10000\n")
        stack.up()
        stack.sql(SCHEMA)
        make(stack, "backup")
        yield stack


def make(stack, *arguments, **environment):
    """Run ``make``, as the README describes, and return its output and seconds."""
    begun = time.monotonic()
    printed = run("make", *arguments, cwd=stack.project, **environment).stdout
    return printed, time.monotonic() - begun


def attempt(stack, script, **environment):
    """Run a script that has to fail, and return its output."""
    done = run("sh", f"bin/{script}", cwd=stack.project, check=False, **environment)
    assert done.returncode == 1, done.stdout
    return done.stdout


def backups(stack):
    """Return the content of all files in ``backups/``, by name."""
    return {file.name: file.read_bytes() for file in (stack.project / "backups").iterdir()}


def newest(stack):
    return max((stack.project / "backups").glob("*.sql.gz"))


def started(stack):
    """Return when each service was started."""
    return {name: one["State"]["StartedAt"] for name, one in stack.containers().items()}


def databases(stack):
    return set(stack.sql("SELECT datname FROM pg_database WHERE NOT datistemplate"))


def write(stack, stop, stored):
    """Create notes until ``stop`` is set, and collect their IDs."""
    while not stop.is_set():
        response = stack.get("/notes", "POST", {"title": "later"})
        assert response.status == 201
        stored.append(int(response.headers["Location"].rpartition("/")[2]))


def test_backup_during_writes_is_restored_as_it_was(stack):
    stop, stored = threading.Event(), []
    writers = [threading.Thread(target=write, args=(stack, stop, stored)) for _ in range(4)]
    for writer in writers:
        writer.start()
    wait_for(lambda: len(stored) > 50, 20)
    before = len(stored)
    _, backup_seconds = make(stack, "backup")
    during = len(stored) - before
    wait_for(lambda: len(stored) > before + during + 50, 20)
    stop.set()
    for writer in writers:
        writer.join()
    drilled, drill_seconds = make(stack, "drill")
    after = stack.sql(COUNTS)
    cached = stack.get("/notes").text
    begun, rights = started(stack), stack.sql(RIGHTS)

    file = newest(stack).relative_to(stack.project)
    printed, restore_seconds = make(stack, "restore", f"file={file}", "yes=1")

    [restored] = stack.sql(COUNTS)
    notes, copies, last = map(int, restored.split("|"))
    report(
        f"{notes} notes, {during} written meanwhile: backup {backup_seconds:.1f} s, "
        f"{newest(stack).stat().st_size / 1e6:.1f} MB; drill {drill_seconds:.1f} s; "
        f"restore {restore_seconds:.1f} s"
    )
    assert during > 5
    assert notes == copies
    assert set(stored[:before]) <= set(range(last + 1))
    assert last < max(stored)
    assert [restored] != after
    assert f"-- rows of notes: {notes}\n" in drilled
    assert "Replacing the database" in printed
    again = {name for name, when in started(stack).items() if when != begun[name]}
    assert again - {"migrate"} == {"web", "worker", "beat", "redis"}
    assert stack.get("/notes").text != cached
    assert f'"id":{last},' in stack.get("/notes").text
    assert stack.get("/notes", "POST", {"title": "new"}).status == 201
    assert databases(stack) == {"user", "postgres"}
    assert stack.sql(RIGHTS) == rights


def terminated(stack):
    """End the connection of the dump while it copies a table."""
    psql = "docker compose exec -T postgres psql --username=postgres".split()
    ending = subprocess.Popen([*psql, "-c", END_DUMP], cwd=stack.project, env=ENVIRONMENT)
    try:
        return attempt(stack, "backup")
    finally:
        assert ending.wait(timeout=20) == 0


def full_disk(stack):
    """Let the compressed backup be written to a device that is full."""
    programs = stack.project / "programs"
    programs.mkdir()
    (programs / "gzip").write_text('#!/bin/sh\nPATH=${PATH#*:} exec gzip "$@" >/dev/full\n')
    (programs / "gzip").chmod(0o755)
    return attempt(stack, "backup", PATH=f"{programs}{os.pathsep}{ENVIRONMENT['PATH']}")


def stopped(stack):
    stack.compose("stop", "postgres")
    try:
        return attempt(stack, "backup")
    finally:
        stack.compose("start", "postgres")
        wait_for(lambda: stack.get("/notes").status == 200, 60)


def cancelled(stack):
    """Press Ctrl-C while the dump is being written."""
    script = subprocess.Popen(
        ["sh", "bin/backup"],
        cwd=stack.project,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: any(f.stat().st_size for f in stack.project.glob("backups/*.part")), 20)
    os.killpg(script.pid, signal.SIGINT)
    printed, _ = script.communicate(timeout=20)
    assert script.returncode == 130
    return printed


@pytest.mark.parametrize("fault", [terminated, full_disk, stopped, cancelled])
def test_failed_backup_leaves_only_the_earlier_ones(stack, fault):
    before = backups(stack)

    printed = fault(stack)

    assert printed.endswith("The backup failed: nothing was written.\n")
    assert backups(stack) == before
    dumping = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg_dump'"
    wait_for(lambda: stack.sql(dumping) == [], 20)


def cut_by(count):
    return lambda whole: whole[:-count]


def changed(pattern, replacement=""):
    """Return a function that changes the SQL of a backup."""

    def change(whole):
        text, count = re.subn(pattern, replacement, gzip.decompress(whole).decode(), count=1)
        assert count
        return gzip.compress(text.encode(), compresslevel=1)

    return change


DAMAGED = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "without its last byte": cut_by(1),
    "empty": lambda _: b"",
    "no dump": lambda _: b"id,title\n1,x\n",
    "compressed text": lambda _: gzip.compress(b"id,title\n"),
    "another byte": lambda whole: whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
    "SQL that was cut": changed(r"(?s)\n4\d{4}\t.*"),
    "without a row": changed(r"\n41234\t.*"),
    "without the rows of a table": changed(r"(?s)\nCOPY public\.copies .*?\n\\\.\n"),
    "without a table": changed(
        r"(?s)\nCREATE TABLE public\.alembic_version .*?COPY public\.alembic_version .*?\n\\\.\n"
    ),
    "of another revision": changed(r"(?m)^0002$", "0001"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_backup_is_refused(stack, damage):
    file = stack.project / "backups/99990101T000000Z.sql.gz"
    original = newest(stack)
    before, begun, data = backups(stack), started(stack), stack.sql(COUNTS)
    file.write_bytes(DAMAGED[damage](original.read_bytes()))

    try:
        drilled = attempt(stack, "drill")
        refused = attempt(stack, "restore", file=str(file), yes="1")
    finally:
        file.unlink()

    for printed in (drilled, refused):
        assert re.search(rf"{file.name} (is|does|cannot) ", printed)
        assert "can be restored" not in printed
    assert (backups(stack), started(stack), stack.sql(COUNTS)) == (before, begun, data)
    assert databases(stack) == {"user", "postgres"}


def test_restore_asks_first(stack):
    begun, data = started(stack), stack.sql(COUNTS)

    unnamed = attempt(stack, "restore")
    missing = attempt(stack, "restore", file="backups/none.sql.gz", yes="1")
    asked = attempt(stack, "restore", file=str(newest(stack)))  # no answer on standard input

    assert "make restore file=" in unnamed
    assert "backups/none.sql.gz is not a backup" in missing
    assert "? [y/N] Nothing was changed." in asked
    assert (started(stack), stack.sql(COUNTS)) == (begun, data)


def test_failed_restore_keeps_the_data_and_starts_the_service(stack):
    script = stack.project / "bin/restore"
    text = script.read_text()
    data = stack.sql(COUNTS)
    script.write_text(text.replace("COMMIT;", "SELECT 1 / 0;\nCOMMIT;"))

    try:
        printed = run(
            "sh", "bin/restore", cwd=stack.project, check=False, file=str(newest(stack)), yes="1"
        )
    finally:
        script.write_text(text)

    assert printed.returncode not in (0, 2)
    assert "The restore failed: no data was replaced." in printed.stdout
    assert stack.sql(COUNTS) == data
    wait_for(lambda: stack.get("/notes").status == 200, 20)
    assert databases(stack) >= {"user", "postgres"}


def test_newest_14_backups_are_kept(stack):
    folder = stack.project / "backups"
    for number in range(20):
        (folder / f"20010101T0000{number:02}Z.sql.gz").touch()
    before = backups(stack)

    make(stack, "backup")

    kept = sorted(backups(stack))
    assert len(kept) == 14
    assert kept[:-1] == sorted(before)[-13:]
    assert (folder / kept[-1]).stat().st_mode & 0o077 == 0
    run("git", "init", "--quiet", cwd=stack.project)
    assert run("git", "check-ignore", "backups/x", cwd=stack.project).stdout == "backups/x\n"
    run("make", "drill", cwd=stack.project)
