"""Backups of the database: complete or absent, restored as they were, and checked by a drill."""

import fcntl
import gzip
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager

import pytest
from figures import report
from projects import ENVIRONMENT, FULL, WHOLE, commands, run
from stacks import temporary_stack, wait_for

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
MIGRATION = '''"""Add stars."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("notes", sa.Column("stars", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("notes", "stars")
'''
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
    with temporary_stack(cookies_session, FULL | {"use_worker": True}, "backup", 8220) as stack:
        with (stack.project / ".env").open("a") as settings:
            settings.write("COMPOSE_FILE=compose.yaml\nRATE_LIMIT=100000r/s\nRATE_BURST=10000\n")
        (stack.project / "user/migrations/0002_add_stars.py").write_text(MIGRATION)
        stack.up()
        stack.sql(SCHEMA)
        make(stack, "backup")
        yield stack


def make(stack, *arguments, **environment):
    """Run ``make``, as docs/backups.md describes, and return its output and seconds."""
    begun = time.monotonic()
    printed = run("make", *arguments, cwd=stack.project, **environment).stdout
    return printed, time.monotonic() - begun


def attempt(stack, script, **environment):
    """Run a script that has to fail, and return its output."""
    program = ("python3", f"bin/{script}")
    done = run(*program, cwd=stack.project, check=False, **environment)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def backups(stack):
    """Return the content of all files in ``backups/``, by name."""
    return {file.name: file.read_bytes() for file in (stack.project / "backups").iterdir()}


def newest(stack):
    return max((stack.project / "backups").glob("2*Z.sql.gz"))


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
    wait_for(lambda: len(stored) > 50, 60)
    before = len(stored)
    _, backup_seconds = make(stack, "backup")
    during = len(stored) - before
    wait_for(lambda: len(stored) > before + during + 50, 60)
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
    assert again == {"redis"}  # the service goes on
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
    """Let no file grow beyond 100 kB; nothing else that the program runs writes files."""
    limited = subprocess.run(
        ["python3", "bin/backup"],
        cwd=stack.project,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert limited.returncode == 1
    assert "File too large" in limited.stdout
    return limited.stdout


def without_revision(stack):
    stack.sql("ALTER TABLE alembic_version RENAME TO other")
    try:
        return attempt(stack, "backup")
    finally:
        stack.sql("ALTER TABLE other RENAME TO alembic_version")


@pytest.mark.parametrize("fault", [terminated, full_disk, without_revision])
def test_failed_backup_leaves_only_the_earlier_ones(stack, fault):
    before = backups(stack)

    printed = fault(stack)

    assert printed.endswith("\nThe backup failed: nothing was written.\n")
    assert len(printed.splitlines()) == 3
    assert backups(stack) == before
    dumping = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg_dump'"
    wait_for(lambda: stack.sql(dumping) == [], 60)


IN_A_SMALL_FOLDER = """
set -eu
mount -t tmpfs -o size=1m tmpfs backups
head -c 900k /dev/zero > backups/other
! python3 bin/backup
[ "$(ls -A backups)" = other ]
mount -o remount,size=500m backups
python3 bin/backup
python3 bin/drill
"""


@pytest.mark.weekly
def test_backup_succeeds_again_when_its_disk_has_room(stack):
    """Only root can have file systems of his own."""
    command = ["unshare", "--mount", "sh", "-c", IN_A_SMALL_FOLDER]

    done = run(*([] if os.geteuid() == 0 else ["sudo"]), *command, cwd=stack.project)

    assert "[Errno 28] No space left on device" in done.stdout
    assert "The backup failed: nothing was written.\n" in done.stdout
    assert done.stdout.endswith(" can be restored\n")


# A check that reads another table: pg_dump writes no search path with which it would find it.
CHECK = """
CREATE FUNCTION copied() RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM copies)';
ALTER TABLE notes ADD CONSTRAINT copied CHECK (copied());
"""
NO_CHECK = "ALTER TABLE notes DROP CONSTRAINT copied; DROP FUNCTION copied;"


def test_cron_reports_a_drill_that_fails(stack, tmp_path):
    """cron mails what a command prints. The one in docs/backups.md copies no backup then."""
    [command] = re.findall(
        r"(?m)^0 3 \* \* \* (.+)$", (stack.project / "docs/backups.md").read_text()
    )
    copied = tmp_path / "copied"
    command = command.replace("cd /srv/user ", "true ").replace("restic backup", f"touch {copied}")
    before = backups(stack)
    stack.sql(CHECK)
    try:
        done = run("sh", "-c", command, cwd=stack.project, check=False)
    finally:
        stack.sql(NO_CHECK)
    [new] = set(backups(stack)) - set(before)
    (stack.project / "backups" / new).unlink()

    assert done.returncode == 2  # that of make
    assert f'\nbackups/{new} cannot be restored: ERROR:  relation "copies" does not' in done.stdout
    assert not copied.exists()
    assert databases(stack) == {"user", "postgres"}


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


# The others are of the kind of these
DAMAGES = DAMAGED if WHOLE else ["cut", "no dump", "another byte", "without a row"]


@pytest.mark.parametrize("damage", DAMAGES)
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
    asked = attempt(stack, "restore", file=str(newest(stack)))  # no answer on standard input

    assert unnamed == "Name a backup: make restore file=backups/NAME.sql.gz\n"
    assert "? [y/N]\nNothing was changed.\n" in asked
    assert (started(stack), stack.sql(COUNTS)) == (begun, data)


NAMES = ["none.sql.gz", ".", "a b", "'a", '"a', "$a", "$(id)", "`id`", "-a", "x" * 300, "\udcff"]


@pytest.mark.parametrize("program", ["drill", "restore"])
@pytest.mark.parametrize("name", NAMES)
def test_name_that_is_no_file_is_refused_with_a_sentence(stack, program, name):
    for file in (f"backups/{name}", name):
        command = ["make", "--silent", program, f"file={file}", "yes=1"]
        done = subprocess.run(
            command,
            cwd=stack.project,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )

        assert done.returncode == 2
        [sentence, _] = done.stderr.decode(errors="surrogateescape").splitlines()
        assert os.path.normpath(file) in sentence
        assert re.search(r"does not exist|is not a file|name too long", sentence)


@pytest.mark.parametrize("name", ["a b.sql.gz", "-'\"$a`id`$(id).sql.gz"])
def test_backup_with_any_name_can_be_checked(stack, name):
    file = stack.project / "backups" / name
    shutil.copy(newest(stack), file)
    try:
        printed = run("make", "drill", f"file=backups/{name}", cwd=stack.project).stdout
    finally:
        file.unlink()

    assert f"\nbackups/{name} can be restored\n" in printed


@pytest.mark.parametrize("program", ["backup", "drill", "restore"])
def test_missing_servers_are_a_sentence(stack, program, tmp_path):
    given = {"file": str(newest(stack)), "yes": "1"}
    (tmp_path / "python3").symlink_to(sys.executable)
    python = os.path.realpath(sys.executable)
    before = backups(stack)

    missing = run(
        python, f"bin/{program}", cwd=stack.project, check=False, PATH=str(tmp_path), **given
    )
    off = attempt(stack, program, DOCKER_HOST="unix:///nowhere/docker.sock", **given)
    stack.compose("stop", "postgres")
    try:
        stopped = attempt(stack, program, **given)
    finally:
        stack.compose("start", "postgres")
        wait_for(lambda: stack.get("/notes").status == 200, 60)

    lines = [printed.splitlines()[-1] for printed in (missing.stdout, off, stopped)]
    assert missing.returncode == 1
    assert lines[0] == "docker is not installed, or it is not in PATH."
    assert lines[1].startswith("Cannot connect to the Docker daemon")
    assert lines[2].startswith("PostgreSQL is not running: docker compose up ")
    assert backups(stack) == before


def test_drill_keeps_the_database_under_a_new_name_only(stack):
    for name in (
        "user",
        "postgres",
        'a"; DROP DATABASE x',
        "A",
        "user_restored_1",
        "user_replaced",
    ):
        attempt(stack, "drill", keep=name)
        assert databases(stack) == {"user", "postgres"}

    make(stack, "drill", keep="user_report")

    assert databases(stack) == {"user", "postgres", "user_report"}
    stack.sql("DROP DATABASE user_report")


def test_only_one_program_runs_at_a_time(stack):
    make(stack, "backup")
    given = {"file": str(newest(stack)), "yes": "1"}
    before, data = backups(stack), stack.sql(COUNTS)
    for first in ("backup", "drill", "restore"):
        with terminal(stack, "python3", f"bin/{first}", **given) as running:
            wait_for(lambda: locked(stack), 60)
            refused = [attempt(stack, name, **given) for name in ("backup", "drill", "restore")]
            status = running.process.wait(timeout=120)
            running.shows("")
        assert status == 0, running.text
        for printed in refused:
            assert printed.splitlines()[-1].startswith(f"bin/{first} (process ")

    assert len(backups(stack)) == len(before) + 1
    assert stack.sql(COUNTS) == data
    assert databases(stack) == {"user", "postgres"}


def test_restore_is_refused_while_a_deployment_runs(stack):
    """`make deploy` is refused during a restore, too: both hold the lock of deployments."""
    make(stack, "backup")
    before = stack.sql(COUNTS)
    with (stack.project / ".deploy.lock").open("w") as file:
        file.write("bin/deploy (process 7, since 12:00:00)")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = attempt(stack, "restore", file=str(newest(stack)), yes="1")

    assert refused.splitlines()[-1] == (
        "bin/deploy (process 7, since 12:00:00) is running. Wait until it has ended."
    )
    assert stack.sql(COUNTS) == before
    assert databases(stack) == {"user", "postgres"}


def locked(stack):
    """Return whether a program holds the lock."""
    with (stack.project / ".backup.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def changed_program(stack, name, before, after):
    """Break a program for the time of the block."""
    script = stack.project / "bin" / name
    text = script.read_text()
    assert before in text
    script.write_text(text.replace(before, after))
    try:
        yield
    finally:
        script.write_text(text)


FAULTS = {
    "exchange": ("databases.py", "COMMIT;", "SELECT 1 / 0;\nCOMMIT;"),
    "cache": ("restore", '"restart", "redis"', '"restart", "nothing"'),
    "not ready": ("restore", '"restart", "redis"', '"stop", "redis"'),
}


@pytest.mark.parametrize("fault", FAULTS if WHOLE else ["not ready"])
def test_failed_restore_keeps_the_data_and_the_service(stack, fault):
    file = newest(stack)
    stack.get("/notes", "POST", {"title": "after the backup"})
    data, begun = stack.sql(COUNTS), started(stack)

    with (
        changed_program(stack, "restore", "READY_SECONDS = 60", "READY_SECONDS = 2"),
        changed_program(stack, *FAULTS[fault]),
    ):
        printed = attempt(stack, "restore", file=str(file), yes="1")
    stack.compose("start", "redis")

    assert printed.endswith("The restore failed: no data was replaced.\n")
    assert ("Putting the former data back" in printed) == (fault != "exchange")
    assert stack.sql(COUNTS) == data
    wait_for(lambda: stack.get("/readyz").status == 200, 60)
    assert databases(stack) == {"user", "postgres"}
    assert {name for name, when in started(stack).items() if when != begun[name]} <= {"redis"}


@pytest.mark.weekly
def test_restore_works_after_a_rollback(stack):
    """After `make deploy migrate=no`, the database has a revision that the service does not know."""
    data, begun = stack.sql(COUNTS), started(stack)
    stack.sql("UPDATE alembic_version SET version_num = '9999'")
    try:
        make(stack, "backup")
        restored = run("make", "restore", cwd=stack.project, file=str(newest(stack)), yes="1")
    finally:
        stack.sql("UPDATE alembic_version SET version_num = '0002'")
    refused = attempt(stack, "restore", file=str(newest(stack)), yes="1")
    newest(stack).unlink()

    assert "failed" not in restored.stdout
    assert "has revision 9999, which this version of the service does not know." in refused
    assert refused.endswith("The restore failed: no data was replaced.\n")
    assert stack.sql(COUNTS) == data
    assert stack.sql("SELECT version_num FROM alembic_version") == ["0002"]
    assert databases(stack) == {"user", "postgres"}
    assert {name for name, when in started(stack).items() if when != begun[name]} == {"redis"}


@pytest.fixture(scope="module")
def older(stack):
    """Return a backup of an earlier version, with another name than those of `make backup`."""
    flask = ("run", "--rm", "--no-TTY", "--no-deps", "migrate", "flask", "db")
    stack.compose(*flask, "downgrade")
    try:
        make(stack, "backup")
    finally:
        stack.compose(*flask, "upgrade")
    return newest(stack).rename(stack.project / "backups/older.sql.gz")


def test_older_backup_is_upgraded_before_the_service_uses_it(stack, older):
    stop, seen = threading.Event(), []

    def read():
        while not stop.wait(0.05):
            seen.append(stack.get("/notes?page=7").status)

    reader = threading.Thread(target=read)
    reader.start()
    printed, _ = make(stack, "restore", f"file={older}", "yes=1")
    stop.set()
    reader.join()

    report(f"restore: {len(seen)} requests meanwhile, {sum(s != 200 for s in seen)} answered 503")
    assert "Upgrading the restored database" in printed
    assert stack.sql("SELECT version_num FROM alembic_version") == ["0002"]
    assert set(seen) <= {200, 503}
    assert seen.count(200) > len(seen) / 2
    assert stack.get("/notes", "POST", {"title": "new"}).status == 201


def connect_terminal():
    """Let standard input be the terminal of the session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGHUP, signal.SIGINT):  # who runs the tests may ignore them
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A terminal in which a program runs."""

    def __init__(self, stack, *command, **environment):
        self.master, slave = pty.openpty()
        self.text = ""
        self.process = subprocess.Popen(
            command,
            cwd=stack.project,
            env=ENVIRONMENT | environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=connect_terminal,
        )
        os.close(slave)

    def shows(self, text):
        """Read what was printed, and return whether that contains ``text``."""
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.text += os.read(self.master, 4096).decode(errors="replace")
            except OSError:  # all programs have closed it
                break
        return text in self.text

    def send(self, name):
        """End the program as people and machines do."""
        if name == "SIGHUP":
            self.close()
        elif name == "SIGINT":
            os.write(self.master, b"\x03")  # Ctrl-C
        else:
            os.kill(self.process.pid, getattr(signal, name))

    def close(self):
        """Hang up: the kernel sends SIGHUP, and from then on, printing fails."""
        if self.master is not None:
            os.close(self.master)
            self.master = None


@contextmanager
def terminal(stack, *command, **environment):
    """Run a command in a terminal, and kill it at the end if it still runs."""
    running = Terminal(stack, *command, **environment)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        running.close()


MOMENTS = {
    "backup": ["Backing up"],
    "drill": ["Restoring", "Comparing"],
    "restore": ["Restoring", "Comparing", "Upgrading", "Replacing", "Emptying"],
}
SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM", "SIGKILL"]
INTERRUPTIONS = [
    ("drill", "Restoring", "SIGINT"),
    ("restore", "Upgrading", "SIGHUP"),
    ("restore", "Replacing", "SIGKILL"),
]
if WHOLE:  # each signal at each moment
    INTERRUPTIONS = [
        (p, moment, name) for p in MOMENTS for moment in MOMENTS[p] for name in SIGNALS
    ]


@pytest.mark.parametrize(("program", "moment", "name"), INTERRUPTIONS)
def test_interruption_leaves_the_service_and_the_data(stack, older, program, moment, name):
    stack.get("/notes", "POST", {"title": "after the backup"})
    files, data, begun = backups(stack), stack.sql(COUNTS), started(stack)
    given = {"file": str(older), "yes": "1"}
    begin = {
        "SIGHUP": ["sh", "-c", f"make {program}; true"],  # the shell of an SSH session
        "SIGINT": ["make", program],
    }.get(name, ["python3", f"bin/{program}"])

    with terminal(stack, *begin, **given) as running:
        wait_for(lambda: running.shows(moment) or running.process.poll() is not None, 120)
        assert running.process.poll() is None, running.text
        time.sleep(0.3 if moment == "Restoring" else 0)
        running.send(name)
        status = running.process.wait(timeout=60)
        wait_for(lambda: not locked(stack), 60)
        assert name == "SIGHUP" or not running.shows("Traceback")

    assert status != 0
    again = {each for each, when in started(stack).items() if when != begun[each]}
    assert again <= {"redis", "migrate"}
    if name == "SIGKILL":
        wait_for(lambda: not busy(stack), 60)
    wait_for(lambda: stack.get("/readyz").status == 200, 60)
    assert stack.get("/notes").status == 200
    if name == "SIGKILL":
        run("make", "backup", "drill", cwd=stack.project)
        assert databases(stack) - {"user_replaced"} == {"user", "postgres"}
        assert moment in ("Replacing", "Emptying") or stack.sql(COUNTS) == data
        assert set(backups(stack)) == {*files, newest(stack).name}
        newest(stack).unlink()
        make(stack, "restore", f"file={older}", "yes=1")
    else:
        assert backups(stack) == files
        assert stack.sql(COUNTS) == data
    assert databases(stack) == {"user", "postgres"}


def busy(stack):
    """Return whether PostgreSQL still runs what a killed program has sent."""
    return stack.sql(
        "SELECT 1 FROM pg_stat_activity "
        "WHERE application_name IN ('psql', 'pg_dump') AND pid <> pg_backend_pid()",
        database="postgres",
    )


FOREIGN = [f"{letter}.sql.gz" for letter in "abcdefghijklmn"]
FOREIGN += ["99990101T000000Z.sql.gz.gpg", "x 99990101T000000Z.sql.gz", "0.tar", "zz.part"]


def test_files_of_others_disturb_nothing(stack):
    folder = stack.project / "backups"
    for name in FOREIGN:
        (folder / name).write_text(name)
    (folder / "99990101T000000Z.sql.gz").mkdir()
    before = {file.name for file in folder.iterdir()}

    printed, _ = make(stack, "backup", "drill")

    [added] = {file.name for file in folder.iterdir()} - before
    assert f"backups/{added} can be restored" in printed
    assert {file.name for file in folder.iterdir()} >= before
    for name in FOREIGN:
        assert (folder / name).read_text() == name
        (folder / name).unlink()
    (folder / "99990101T000000Z.sql.gz").rmdir()


def test_new_backup_stays_if_the_clock_was_wrong(stack):
    folder = stack.project / "backups"
    future = [folder / f"99990101T0000{number:02}Z.sql.gz" for number in range(14)]
    earlier = set(backups(stack))
    for file in future:
        file.touch()

    make(stack, "backup")

    kept = set(backups(stack))
    [added] = kept - earlier - {file.name for file in future}
    assert len([name for name in kept if name.startswith("9999")]) == 13
    assert (folder / added).stat().st_size > 0
    for file in future:
        file.unlink(missing_ok=True)


def test_newest_14_backups_are_kept(stack):
    folder = stack.project / "backups"
    for number in range(20):
        (folder / f"20010101T0000{number:02}Z.sql.gz").touch()
    before = {name for name in backups(stack) if name.endswith("Z.sql.gz")}

    make(stack, "backup")

    kept = sorted(name for name in backups(stack) if name.endswith("Z.sql.gz"))
    assert kept == sorted({*before, kept[-1]})[-14:]
    assert (folder / kept[-1]).stat().st_size > 0
    assert (folder / kept[-1]).stat().st_mode & 0o077 == 0
    run("git", "init", "--quiet", cwd=stack.project)
    assert run("git", "check-ignore", "backups/x", cwd=stack.project).stdout == "backups/x\n"
    assert run("git", "check-ignore", ".backup.lock", cwd=stack.project).stdout
    run("make", "drill", cwd=stack.project)


@pytest.mark.weekly
def test_data_moves_to_a_new_version_of_postgres_as_described(stack):
    page = (stack.project / "docs/backups.md").read_text()
    compose, before = stack.project / "compose.yaml", stack.sql(COUNTS)

    for command in commands(page, "A new major version of PostgreSQL"):
        run("sh", "-c", command, cwd=stack.project)
    running = stack.compose("ps", "--services").stdout.split()
    assert {"web", "worker", "beat"}.isdisjoint(running)
    compose.write_text(compose.read_text().replace("postgres18", "postgres19"))
    make(stack, "deploy")
    assert stack.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == ["0"]
    make(stack, "restore", f"file={newest(stack)}", "yes=1")

    assert stack.sql(COUNTS) == before
    assert stack.get("/notes").status == 200
