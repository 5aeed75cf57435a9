"""The recipes in docs/recipes/ for other databases and for platforms, and the files that all change.

With ``DEPLOYMENTS``, ``make check`` and ``make test-stack`` run as written; without it, only the tests
that a recipe concerns.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml
from figures import report
from projects import (
    BARE,
    FULL,
    WHOLE,
    check_workflows,
    each_combination,
    files_of,
    run,
    running,
)
from recipes import ADDITIONS, RECIPES, WITHOUT_REDIS, Recipe, follow_recipe, recipe
from stacks import temporary_stack, wait_for

pytestmark = pytest.mark.faults  # for the whole form
HOST = {"Host": "shop.example.com"}
docker = [pytest.mark.docker, pytest.mark.xdist_group("docker-untimed")]


def ask(port, path, method="GET", body=None, **headers):
    """Return status, headers and JSON of a response, also of an error."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    request = Request(f"http://127.0.0.1:{port}{path}", body, headers, method=method)
    try:
        response = urlopen(request, timeout=10)
    except HTTPError as error:
        response = error
    with response:
        text = response.read().decode()
    return response.status, response.headers, json.loads(text) if text.startswith("{") else text


def passed(printed):
    """Return how many tests have passed, for each run of pytest."""
    assert "failed" not in printed
    return [int(count) for count in re.findall(r"^=+ (\d+) passed", printed, re.M)]


def some_tests(commands, *names):
    """Return words for a recipe with which it runs the tests in these files instead of all."""
    files = " ".join(f"tests/{name}.py" for name in names)
    return {} if WHOLE else {commands: f"uv run pytest {files}\n"}


@pytest.fixture(scope="module")
def mariadb(engine, cookies_session):
    words = {"-c backups/NAME": "-c backups/*"}
    with (
        temporary_stack(cookies_session, FULL, "recipe-mariadb", 18810, slug="shop") as stack,
        recipe("mariadb", stack.project, words) as stack.recipe,
    ):
        for heading in (None, "Change the project"):
            stack.recipe.follow(heading)
        yield stack


def test_changes_for_mariadb_fit_the_project(bake):
    reading = Recipe(bake(**FULL, project_slug="shop"), (RECIPES / "mariadb.md").read_text(), {})
    for heading in (None, "Change the project"):
        reading.follow(heading)

    printed = run("uv", "run", "pytest", "tests/core/test_database.py", cwd=reading.project).stdout
    assert passed(printed)


@each_combination()
def test_changes_of_files_fit_each_project(fresh, chosen, tmp_path):
    project = shutil.copytree(fresh, tmp_path / "my_service")
    follow_recipe(project, "devcontainer", commands=False)
    for page in [*(ADDITIONS if chosen["use_redis"] else WITHOUT_REDIS), "ssh"]:
        follow_recipe(project, page, {"shop/": "my_service/"}, commands=False)

    for file in project.rglob("*.py"):
        compile(file.read_text(), file, "exec")
    for file in ("compose.yaml", ".github/dependabot.yml", ".github/workflows/ci.yml"):
        assert yaml.safe_load((project / file).read_text())


class TestMariaDB:
    """A project with MariaDB."""

    pytestmark = [*docker, pytest.mark.weekly]

    def test_own_tests_pass_with_sqlite_and_mariadb(self, mariadb):
        with_sqlite, *with_mariadb = passed(mariadb.recipe.follow("Tests"))

        assert with_mariadb > [with_sqlite]  # some tests need a server

    def test_service_works_in_production(self, mariadb):
        run("make", "deploy", cwd=mariadb.project)
        created = mariadb.get("/notes", "POST", {"title": "ü🚀"})

        assert created.status == 201
        assert mariadb.get(created.headers["Location"]).status == 200
        checks = json.loads(mariadb.get("/readyz").text)["checks"]
        assert checks == {"mariadb": "ok", "redis": "ok"}
        mariadb.inside("web", "flask", "db", "check")

    def test_service_survives_an_outage(self, mariadb):
        mariadb.compose("stop", "mariadb")
        begun = time.monotonic()
        statuses = [mariadb.get(path).status for path in ("/notes?page=2", "/readyz", "/livez")]
        seconds = time.monotonic() - begun
        mariadb.compose("start", "mariadb")
        back = wait_for(lambda: mariadb.get("/notes?page=2").status == 200, 30)
        report(f"MariaDB stopped: three responses in {seconds:.1f} s; back after {back:.1f} s")

        assert statuses == [503, 503, 200]
        assert seconds < 10

    def test_backup_is_restored(self, mariadb):
        prompt = run("make", "--dry-run", "mariadb", cwd=mariadb.project).stdout.split()
        query = [*prompt[:3], "-T", *prompt[3:], "--batch", "-e"]
        mariadb.recipe.follow("Back up")
        [backup] = (mariadb.project / "backups").iterdir()
        [note] = json.loads(mariadb.get("/notes?page=1&per_page=9").text)["items"]
        mariadb.get(f"/notes/{note['id']}", "DELETE")
        assert mariadb.get(f"/notes/{note['id']}").status == 404
        run(*query, "CREATE TABLE later (id INT)", cwd=mariadb.project)
        mariadb.recipe.follow("Restore")

        assert backup.stat().st_mode & 0o777 == 0o600
        wait_for(lambda: mariadb.get(f"/notes/{note['id']}").status == 200, 60)
        assert "later" not in run(*query, "SHOW TABLES", cwd=mariadb.project).stdout

    def test_nothing_of_postgresql_is_left(self, mariadb):
        check_workflows(mariadb.project)
        kept = r"\.venv/|\.git/|README\.md|docs/|uv\.lock|\.env$|\.coverage|cache[/_]|backups/|instance/"
        files = {f for f in files_of(mariadb.project) if not re.search(kept, f)}
        texts = {file: (mariadb.project / file).read_text() for file in files}

        assert {
            f for f, text in texts.items() if re.search("(?i)postgres|psycopg|pg_|psql", text)
        } == set()


@each_combination("use_postgres")
def test_mariadb_patch_fits_other_options_and_names(fresh, tmp_path):
    page, patch = ((RECIPES / name).read_text() for name in ("mariadb.md", "mariadb/mariadb.patch"))
    [rename] = re.findall(r"`(sed [^`]+)`", page)
    [apply] = re.findall(r"^git apply.*(?= mariadb\.patch)", page, re.M)
    changed = tmp_path / "mariadb.patch"
    changed.write_text(patch)
    run("sh", "-c", rename.replace("NAME", "my_service"), cwd=tmp_path)

    assert changed.read_text() == re.sub(r"\bshop\b", "my_service", patch)
    assert os.listdir(tmp_path) == [changed.name]
    run(*apply.split(), "--check", changed, cwd=fresh)


@pytest.mark.weekly
def test_mongodb_recipe(bake):
    """nx-27017 speaks the protocol of MongoDB; no server of MongoDB is in a package registry."""
    project = bake(project_slug="shop", use_postgres=False)
    url = {"MONGO_URL": "mongodb://127.0.0.1:18814/shop"}
    keys = {
        "APP_ENV": "production",
        "SECRET_KEY": secrets.token_hex(),
        "TRUSTED_HOSTS": "127.0.0.1",
    }
    production = {**url, **keys, "REDIS_URL": "redis://127.0.0.1:1", "PORT": "18815"}
    server = "uvx nx-27017@0.8.1 --db memory --port 18814 --pid-file ../nx.pid --log-file ../nx.log".split()
    web = "uv run gunicorn --config python:config.gunicorn".split()

    words = some_tests("make check\n", "test_books", "core/test_health", "test_settings")
    with recipe("mongodb", project, words, **url) as reading:
        for heading in (None, "Files"):
            reading.follow(heading)
        with running(server, project):
            wait_for(lambda: socket.create_connection(("127.0.0.1", 18814)).close() is None, 60)
            assert passed(reading.follow("Tests"))
    # On Ctrl-C, a worker of gunicorn gets two signals, and in rare cases hangs for 30 seconds.
    with running(web, project, signal.SIGTERM, **production):
        with running(server, project):
            wait_for(lambda: ask(18815, "/books")[0] == 200, 60)
            created = [ask(18815, "/books", "POST", {"title": f"{n}"})[0] for n in range(8)]
            listed = ask(18815, "/books")[2]["items"]
            checks = ask(18815, "/readyz")[2]["checks"]
        begun = time.monotonic()
        status, headers, _ = ask(18815, "/books")
        seconds = time.monotonic() - begun
    services = yaml.safe_load(run(*"docker compose config".split(), cwd=project).stdout)["services"]
    check_workflows(project)

    assert (created, len(listed), checks["mongo"]) == ([201] * 8, 8, "ok")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert seconds < 5
    assert services["mongo"]["read_only"]


@pytest.fixture(scope="module")
def platform(engine, cookies_session):
    options = {**BARE, "use_postgres": True, "project_slug": "shop"}
    project = cookies_session.bake(extra_context=options).project_path
    words = {"shop-try": "trial-recipe-shop", "9000": "18813"}
    with recipe("platforms", project, words) as reading:
        try:
            for heading in (None, "URL of the database", "Settings", "Try it"):
                reading.follow(heading)
            yield project
        finally:
            reading.follow("Delete it")


class TestPlatform:
    """The image alone, as platforms start it."""

    pytestmark = [*docker, pytest.mark.weekly]
    host = {"Host": "platform.example.com"}

    def test_requests_succeed(self, platform):
        created = ask(18813, "/notes", "POST", {"title": "a"}, **HOST)

        assert created[0] == 201
        assert ask(18813, created[1]["Location"], **HOST)[2]["title"] == "a"
        assert "<h1>My Service</h1>" in ask(18813, "/", **HOST)[2]
        assert ask(18813, "/livez", Host="other.example.com")[0] == 400

    def test_only_the_header_of_the_proxy_is_trusted(self, platform):
        forwarded = {"X_Forwarded_For": "6.6.6.6, 7.7.7.7", "X_Forwarded_Proto": "https"}
        _, headers, _ = ask(18813, "/", **HOST, **forwarded)
        log = run("docker", "logs", "trial-recipe-shop-web", cwd=platform).stdout
        [line] = [line for line in log.splitlines() if headers["X-Request-ID"] in line]

        assert json.loads(line)["remote_addr"] == "7.7.7.7"
        assert "Strict-Transport-Security" in headers

    def test_sigterm_stops_it(self, platform):
        inspect = "docker inspect trial-recipe-shop-web --format".split()
        before = run(
            *"docker stats --no-stream --format {{.MemUsage}} trial-recipe-shop-web".split(),
            cwd=platform,
        )
        begun = time.monotonic()
        run(*"docker stop --timeout 60 trial-recipe-shop-web".split(), cwd=platform)
        report(f"image alone: {before.stdout.strip()}; stopped in {time.monotonic() - begun:.1f} s")

        assert time.monotonic() - begun < 20
        assert (
            run(*inspect, "{{.State.ExitCode}} {{.State.OOMKilled}}", cwd=platform).stdout
            == "0 false\n"
        )

    def test_own_tests_of_the_changed_files_pass(self, platform):
        tests = "uv run pytest tests/core/test_database.py tests/test_settings.py".split()
        assert passed(run(*tests, cwd=platform).stdout)
