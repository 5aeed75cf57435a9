"""The documents are correct: commands, tables, recipes and links."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from html import unescape
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from conftest import (
    EACH,
    ENVIRONMENT,
    FULL,
    OPTIONS,
    TEMPLATE,
    WITH_ALL,
    commands,
    each_combination,
    files_of,
    run,
)
from recipes import RECIPES, copied
from stacks import apart, free_containers, trial, wait_for

SLUG = "{{cookiecutter.project_slug}}"
README = TEMPLATE / SLUG / "README.md"
DOCUMENTS = [*sorted(TEMPLATE.glob("*.md")), *sorted(TEMPLATE.glob("docs/**/*.md"))]
ALL = pytest.mark.parametrize("document", [*DOCUMENTS, README], ids=lambda path: path.name)

# Commands that other files run
ELSEWHERE = {
    "make up": ("tests/test_stack.py", '"make", "up"'),
    "make lint": (".ci/run", "make lint"),
    "make test": (".ci/run", "make test"),
    "make test-faults": ("tests/test_faults.py", "pytest.mark.faults"),
    "make check": ("tests/test_checks.py", '"make", "check"'),
    "docker compose exec queue redis-cli llen celery": ("tests/test_jobs.py", '"llen", "celery"'),
    "docker compose exec worker celery --app user.make_celery inspect active": (
        "tests/test_jobs.py",
        '"inspect", "active"',
    ),
    'docker run --detach --network=user_front --volume="$PWD/prometheus:/etc/prometheus:ro" --publish=127.0.0.1:9090:9090 prom/prometheus:v3.5.3': (
        "tests/test_metrics.py",
        "docker run .*",
    ),
    'docker run --rm --volume="$PWD/prometheus:/etc/prometheus:ro" --entrypoint=promtool prom/prometheus:v3.5.3 test rules /etc/prometheus/alerts_test.yaml': (
        "tests/test_metrics.py",
        "test rules",
    ),
    "uvx schemathesis run http://127.0.0.1:{{ cookiecutter.__port }}/openapi.json": (
        "tests/test_openapi.py",
        "uvx schemathesis run",
    ),
    "make bench": ("CONTRIBUTING.md", "`make bench`"),  # by hand: it takes minutes
}


def spans(text):
    """Return the inline code."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def paragraph(project, title):
    """Return the list item of the generated README that starts with ``title`` in bold."""
    text = (project / "README.md").read_text()
    [found] = re.findall(rf"^- \*\*{title}\*\*.*\n(?:  .*\n)*", text, re.M)
    return found


@ALL
def test_every_command_is_run_by_a_test(document):
    text = document.read_text().replace("{{ cookiecutter.project_slug }}", "user")
    typed = commands(text)
    if document == README:
        programs = ("docker ", "uv ", "uvx ", "RATE_LIMIT=")
        typed += [span for span in spans(text) if span.startswith(programs)]
    if document.name == "upgrading.md":
        updates = "".join((TEMPLATE / "tests/test_updates.py").read_text().split())
        headings = re.findall("^## (.+)$", text, re.M)
        run_there = [h for h in headings if f'typed("{h}")'.replace(" ", "") in updates]
        typed = [c for c in typed if not any(c in commands(text, h) for h in run_there)]
    here = Path(__file__).read_text().partition("def test_every_target")[2]
    here += (TEMPLATE / "tests/test_kubernetes.py").read_text()

    for command in typed:
        if command in ELSEWHERE:
            file, trace = ELSEWHERE[command]
            assert trace in (TEMPLATE / file).read_text(), command
        else:
            assert command in here, command


@ALL
def test_every_target_is_in_a_makefile(document):
    makefiles = [TEMPLATE / "Makefile", README.with_name("Makefile")]
    makefiles += document.parent.glob("*/*.patch")  # of recipes
    known = {t for f in makefiles for t in re.findall(r"^\+?([a-z-]+):", f.read_text(), re.M)}
    named = re.findall(
        r"\bmake (?:-C \S+ )?([a-z-]+(?: [a-z-]+)*)(?=`| [a-z]+=|$)", document.read_text(), re.M
    )

    assert {target for names in named for target in names.split()} <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_have_targets(document):
    text = re.sub("(?s)```.*?```|`[^`\n]*`", "", document.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        file = document.parent / path if path else document
        assert file.exists(), target
        headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, target


def test_readme_of_the_template_is_short():
    assert len((TEMPLATE / "README.md").read_text().splitlines()) <= 150


def test_recipes_are_short():
    lines = {page.name: len(page.read_text().splitlines()) for page in RECIPES.glob("*.md")}

    assert lines
    assert {name: count for name, count in lines.items() if count > 90} == {}


def test_every_file_of_a_recipe_is_copied():
    files = {str(file.relative_to(RECIPES)) for file in RECIPES.glob("*/**/*") if file.is_file()}

    assert files == {source for page in RECIPES.glob("*.md") for source in copied(page.read_text())}


def terminal():
    """Return the lines of docs/terminal.svg."""
    svg = (TEMPLATE / "docs/terminal.svg").read_text()
    rows = {}
    for y, text in re.findall(r'<text class="\S+-r\d+" x="\S+" y="(\S+)"[^>]*>([^<]*)', svg):
        rows[y] = rows.get(y, "") + unescape(text).replace("\xa0", " ").rstrip("\n")
    return "\n".join(row.rstrip() for row in rows.values())


def test_picture_of_the_terminal_shows_the_real_output(tmp_path):
    picture = terminal()
    typed = ["Corner Shop", "", "Sells milk.", *[""] * 14]

    shown = subprocess.run(
        [sys.executable, "-m", "cookiecutter", TEMPLATE, "--output-dir", tmp_path],
        input="\n".join(typed) + "\n",
        env=ENVIRONMENT | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
    ).stdout

    assert commands(picture) == [
        "cookiecutter gh:ORG/cookiecutter-flask-docker",
        "cd corner_shop",
        "make up",
        "curl http://127.0.0.1:8080/readyz",
    ]
    prompts = re.findall(r"^\[\d+/17\] [^[:\n]+", picture, re.M)
    assert len(prompts) == 17
    assert [prompt for prompt in prompts if prompt not in shown] == []
    assert re.search(r"^corner_shop is ready:\n(?:  .+\n)+", picture, re.M)[0] in shown
    assert "make up\nUp: http://127.0.0.1:8080\n" in picture
    assert readiness(tmp_path / "corner_shop").rstrip() in picture


def readiness(project):
    """Return the response of ``/readyz`` in development."""
    print_it = (
        "from corner_shop import create_app\n"
        "print(create_app().test_client().get('/readyz').text, end='')"
    )
    text = run(
        "uv", "run", "--quiet", "python", "-c", print_it, cwd=project, FLASK_DEBUG="1"
    ).stdout
    return text[text.index("{\n") :]


def test_command_in_options_generates_the_described_project(tmp_path):
    command = (
        'cookiecutter . --no-input project_name="Corner Shop" use_redis=false license=Apache-2.0'
    )
    assert commands((TEMPLATE / "docs/options.md").read_text()) == [command]

    run("sh", "-c", f"{command} --output-dir {tmp_path}", cwd=TEMPLATE)

    assert "Corner Shop" in (tmp_path / "corner_shop/README.md").read_text()
    assert "Apache License" in (tmp_path / "corner_shop/LICENSE").read_text()
    assert not (tmp_path / "corner_shop/corner_shop/cache.py").exists()


def defaults(project):
    """Return the defaults in ``config/settings.py`` that are constants, by setting."""
    text = (project / "config/settings.py").read_text()
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {
        call.args[0].value: call.args[1].value
        for call in calls
        if ast.unparse(call.func).startswith("env.")
        and len(call.args) > 1
        and all(isinstance(argument, ast.Constant) for argument in call.args[:2])
    }


@each_combination()
def test_table_of_settings_is_complete_and_has_the_defaults(project):
    text = (project / "README.md").read_text()
    table = text.split("| variable | default | |")[1].split("\n\n")[0]
    documented = {
        name: default.strip().split(";")[0].strip("` ")
        for names, value in (line.split("|")[1:3] for line in table.splitlines()[2:])
        for name, default in zip(spans(names), value.split(",") * 2, strict=False)
    }
    example = re.findall(r"^(?:# )?([A-Z_]+)=", (project / ".env.example").read_text(), re.M)

    assert set(documented) == set(example)
    assert {"APP_ENV", "FLASK_DEBUG", "LOG_LEVEL", "PORT", "WEB_THREADS"} <= set(defaults(project))
    for name, default in defaults(project).items():
        plain = int(default) if isinstance(default, bool) else default
        assert plain in (None, "") or documented[name] == str(plain), name


def different(project, without):
    """Return the files of a project that another one lacks, or has with other content."""
    return {
        path
        for path in files_of(project)
        if not (without / path).exists()
        or (project / path).read_bytes() != (without / path).read_bytes()
    }


PARTS = {
    "PostgreSQL": {"use_postgres": False},
    "Redis": {"use_redis": False},
    "nginx": {"use_nginx": False},
    "Caddy": {"use_tls": False},
    "The worker": {"use_worker": False},
    "OpenAPI": {"use_openapi": False},
    "Metrics": {"use_metrics": False},
    "Kubernetes": {"use_kubernetes": False},
    "The bundle": {"frontend": "none", "use_tailwind": False},
}


@pytest.mark.parametrize("other", [{}, {"use_redis": False}, {"use_nginx": False}], ids=str)
@pytest.mark.parametrize("title", PARTS)
def test_readme_lists_all_files_of_a_removed_part(no_lock, bake, title, other):
    if PARTS[title] == other:
        return
    everything = dict.fromkeys(OPTIONS, True) | {"frontend": "htmx"} | other
    project, without = bake(**everything), bake(**everything | PARTS[title])
    item = paragraph(project, title)
    if title == "The bundle":
        item += paragraph(project, "The example on the first page")
    named = [name.rstrip("/") for name in spans(item) if name != "my_service/"]
    named += [f"my_service/{name}" for name in named]

    missing = {
        path
        for path in different(project, without)
        if not any(path == name or path.startswith(f"{name}/") for name in named)
    }
    if "and their tests" in item:
        missing = {path for path in missing if not path.startswith("tests/")}
    if title != "Kubernetes":
        others = spans(paragraph(project, "Kubernetes").partition("If you remove\n")[2])
        assert others == ["deploy/kubernetes/", "bin/rollout"]
        missing = {path for path in missing if not path.startswith(tuple(others))}
    # Without notes, home.py caches a function as an example.
    assert missing <= {".editorconfig", ".env", "my_service/home.py"}


def cut(file, *patterns):
    """Delete the matches of each pattern."""
    for pattern in patterns:
        text, count = re.subn(pattern, "", file.read_text(), flags=re.M)
        assert count, (file, pattern)
        file.write_text(text)


def test_example_and_toolbar_can_be_removed_as_described(bake):
    project = bake(project_slug="shop")
    example, toolbar = paragraph(project, "The example"), paragraph(project, "The debug toolbar")
    package = project / "shop"
    assert spans(example) == [
        "notes.py", "tests/test_notes.py", "migrations/0001_create_notes.py", "Note", "notes",
        "__init__.py", "seed", "Makefile", "/notes", "locustfile.py",
        'make revision m="delete notes"', "README.md",
    ]  # fmt: skip
    assert spans(toolbar) == [
        "toolbar.py", "tests/test_toolbar.py", "__init__.py", "flask-debugtoolbar", "pyproject.toml",
    ]  # fmt: skip

    for file in ("notes.py", "migrations/0001_create_notes.py", "toolbar.py"):
        (package / file).unlink()
    for file in ("tests/test_notes.py", "tests/test_toolbar.py"):
        (project / file).unlink()
    cut(package / "models.py", r"\n\nclass Note\(Base\):\n(.|\n)*")
    cut(package / "__init__.py", r".*\bnotes\b.*\n", r".*\btoolbar\b.*\n")
    cut(project / "Makefile", r"^seed:.*\n(\t.*\n)+\n?", r" seed(?= )")
    cut(project / "locustfile.py", r', "/notes"')
    cut(project / "pyproject.toml", r".*flask-debugtoolbar.*\n")

    text = (project / "README.md").read_text()
    assert "\nThen run `make lock format check`.\n" in text
    done = run("make", "lock", "format", "check", cwd=project)
    assert re.search(r"\d+ passed", done.stdout)


# To drop a column, SQLite copies the table, and with foreign keys it would delete the tags.
TAGGED_NOTE = """
CREATE TABLE tags (note_id INTEGER REFERENCES notes ON DELETE CASCADE);
INSERT INTO notes (id, title, body, created_at) VALUES (1, 'a', 'b', '2026-01-01');
INSERT INTO tags VALUES (1);
"""


def test_table_can_be_changed_as_described(bake):
    project = bake(project_slug="shop")
    recipe = spans(paragraph(project, "A table"))
    revise = 'make revision m="add a column"'
    assert recipe[:4] == ["models.py", "make migrate", "make run", revise]
    assert "make migrate" in recipe[4:]
    models = project / "shop/models.py"
    revert = "uv run flask --app shop db downgrade"
    assert revert in recipe

    models.write_text(models.read_text().rstrip("\n") + "\n    stars: Mapped[int | None]\n")
    for command in ("make migrate", revise, "make migrate"):
        run("sh", "-c", command, cwd=project)

    [new] = (project / "shop/migrations").glob("*add_a_column*.py")
    assert 'batch_op.add_column(sa.Column("stars", sa.Integer(), nullable=True))' in new.read_text()
    run(*"uv run flask --app shop db check".split(), cwd=project)
    with closing(sqlite3.connect(project / "instance/shop.db")) as database:
        database.executescript(TAGGED_NOTE)
        run("sh", "-c", revert, cwd=project)
        tags = database.execute("SELECT * FROM tags").fetchall()
    assert tags == [(1,)]
    assert "0001" in run(*"uv run flask --app shop db current".split(), cwd=project).stdout
    # ELSEWHERE: uv run flask --app user db downgrade


@WITH_ALL
@pytest.mark.parametrize(
    "title",
    ["Persistent files", "Uploads over 1 MB", "WebSockets and server-sent events", "HTTPS"],
)
def test_recipe_matches_the_tests_of_an_owner(project, title):
    found = spans(paragraph(project, title).replace("ADDRESS;", "{proxy};"))
    owner = "".join(file.read_text() for file in TEMPLATE.glob("tests/**/*owner*.py"))
    owner += (TEMPLATE / "tests/owner/extras.py").read_text()

    code = [span for span in found if re.search(r"[ :]", span) and span != "http {"]
    code = [span for span in code if not span.startswith(("docker ", "... "))]
    assert code
    for span in code:
        words = re.findall(r"[\w./-]+", span)
        assert re.search(r"\W+".join(map(re.escape, words)), owner), span


def test_database_can_be_external(bake, engine):
    project = bake(project_slug="shop")
    assert "delete the service `postgres`, its volume and `PGPASSWORD`" in paragraph(
        project, "An external database"
    )
    file = project / "compose.yaml"
    compose = yaml.safe_load(file.read_text())

    del compose["services"]["postgres"], compose["volumes"]["postgres18"]
    environment = compose["services"]["web"]["environment"]  # which migrate shares
    environment["DATABASE_URL"] = "${DATABASE_URL:?is not set}"
    del environment["PGPASSWORD"]
    compose["services"]["migrate"] |= {"networks": ["front"], "depends_on": {}}
    file.write_text(yaml.dump(compose))

    url = "postgresql+psycopg://user:password@db.example/shop"
    config = "docker compose -f compose.yaml config --format=json".split()
    services = json.loads(run(*config, cwd=project, DATABASE_URL=url).stdout)["services"]
    assert services["web"]["environment"]["DATABASE_URL"] == url
    assert list(services["migrate"]["networks"]) == ["front"]
    refused = run(*config, cwd=project, check=False)
    assert "DATABASE_URL is missing a value: is not set" in refused.stdout


@contextmanager
def running(command, project, end=signal.SIGINT, **environment):
    """Run a program until the end of the block; its output is in a log file."""
    log = project.parent / "log"
    with log.open("w") as output:
        program = subprocess.Popen(
            command,
            cwd=project,
            env=ENVIRONMENT | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # Programs ignore Ctrl-C if the tests run in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        yield program, log
    finally:
        os.killpg(program.pid, end)
        try:
            program.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            raise


@pytest.mark.parametrize("project", [EACH[0], EACH[-1]], indirect=True)
def test_make_run_serves_the_first_page(project):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    run("uv", "sync", "--quiet", cwd=project)

    with running("make run".split(), project, PORT=str(port)) as (program, log):
        wait_for(lambda: urlopen(f"{address}/livez", timeout=5).status == 200, 60)
        page = urlopen(address, timeout=5).read().decode()
        assert program.poll() is None

    assert "<h1>My Service</h1>" in page
    assert f"Starting on {address}, until you press Ctrl-C" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def production(engine, cookies_session):
    """Deploy a project with all options, as its README describes."""
    with trial(cookies_session, FULL, "production", 8192) as stack:
        enter(stack.project, "make deploy")
        yield stack.project


def enter(project, command, instead=None, **environment):
    """Run a command of the generated README, or ``instead`` with the values of a reader."""
    text = (project / "README.md").read_text()
    assert f"$ {command}\n" in text or f"`{command}`" in text, command
    return run("sh", "-c", instead or command, cwd=project, **environment).stdout


def psql(project, query, *options, check=True, **environment):
    inside = "docker compose exec -T -e PGPASSWORD postgres psql --tuples-only --no-align".split()
    options = options or ("--username=postgres",)
    command = [*inside, *options, "--dbname=user", "-c", query]
    return run(*command, cwd=project, check=check, **environment).stdout


def ready():
    return urlopen("http://127.0.0.1:8192/readyz", timeout=5).status == 200


docker = [pytest.mark.docker, pytest.mark.xdist_group("docker-untimed")]


class TestProduction:
    """The commands of the generated README that need containers."""

    pytestmark = docker

    def test_load_test_runs(self, production):
        enter(
            production,
            "RATE_LIMIT=100000r/s RATE_BURST=10000 docker compose -f compose.yaml up --detach --wait --no-deps nginx",
        )
        load = "make load users=16 seconds=20"
        printed = enter(production, load, load.replace("20", "5"))

        aggregated = next(line for line in printed.splitlines() if "Aggregated" in line)
        requests, failures = re.findall(r"\d+", aggregated)[:2]
        assert int(requests) >= 16
        assert failures == "0"

    def test_restored_dump_gets_the_role_as_owner(self, production):
        other = "docker compose exec -T postgres {} --username=postgres {}"
        make_old = '"CREATE TABLE old (id int); INSERT INTO old VALUES (7)"'
        start = "docker compose up --detach --build --wait postgres"
        restore = "docker compose exec -T postgres pg_restore --username=postgres --no-owner --role=shop --dbname=shop < old.dump"
        assert commands((TEMPLATE / "docs/coming-from.md").read_text()) == [start, restore]

        for command in (
            start,
            other.format("createdb", "old"),
            other.format("psql", f"old -c {make_old}"),
            other.format("pg_dump", "--format=custom old > old.dump"),
            restore.replace("shop", "user"),
        ):
            run("sh", "-c", command, cwd=production)

        query = "SELECT tableowner, id FROM pg_tables, old WHERE tablename = 'old'"
        assert psql(production, query) == "user|7\n"

    def test_password_is_changed(self, production):
        change = r"docker compose exec postgres psql --username=postgres --command='\password user'"
        dotenv = production / ".env"
        [old] = re.findall("(?m)^DATABASE_PASSWORD=(.+)$", dotenv.read_text())
        new = r'n"w $ \ 1'

        enter(production, change, f'printf "%s\\n" "$NEW" "$NEW" | {change}', NEW=new)
        text = dotenv.read_text().replace("REDIS_PASSWORD=", "REDIS_PASSWORD=new")
        dotenv.write_text(text.replace(old, f"'{new}'"))
        enter(production, "make deploy")

        wait_for(ready, 20)
        as_role = ("--host=127.0.0.1", "--username=user")
        assert psql(production, "SELECT 1", *as_role, PGPASSWORD=new) == "1\n"
        refused = psql(production, "SELECT 1", *as_role, check=False, PGPASSWORD=old)
        assert 'password authentication failed for user "user"' in refused

    def test_earlier_version_can_be_deployed_again(self, production):
        downgrade = "docker compose run --rm --build migrate flask db downgrade"
        upgrade = "docker compose exec web flask db upgrade"
        psql(production, "UPDATE alembic_version SET version_num = 'later'")

        failed = run("make", "deploy", cwd=production, check=False)
        enter(production, "make deploy migrate=no")

        wait_for(ready, 20)
        assert failed.returncode
        assert "Can't locate revision identified by 'later'" in failed.stdout
        psql(production, "UPDATE alembic_version SET version_num = '0001'")
        enter(production, downgrade)
        assert "notes" not in psql(production, "SELECT tablename FROM pg_tables")
        enter(production, upgrade)
        run(*"docker compose exec web flask db downgrade".split(), cwd=production)  # without nginx
        enter(production, upgrade)
        assert "notes" in psql(production, "SELECT tablename FROM pg_tables")

    @pytest.mark.parametrize(
        ("command", "instead"),
        [
            ("docker build .", None),
            ("docker compose -f compose.yaml up --build --detach --wait", None),
            (
                "docker compose exec -T web tar -C instance -c . > instance.tar",
                "docker compose exec -T web tar -C config -c . > instance.tar"
                " && docker compose exec -T web sh -c 'mkdir /tmp/a && tar -C /tmp/a -x' < instance.tar",
            ),
            (
                "docker compose exec -T web flask load < books.csv",
                "docker compose exec -T web flask shell < bin/env",
            ),
            ("docker compose exec -T web flask seed", None),
            ("docker compose ps --all", None),
            ("docker stats", "docker stats --no-stream"),
            ("uv add NAME", "uv add itsdangerous"),
            (
                "uv run flask --app user seed",
                "make migrate && uv run flask --app user seed",
            ),
            ("uvx pre-commit install", "git init --quiet && uvx pre-commit install"),
        ],
    )
    def test_command_in_a_sentence_works(self, production, command, instead):
        enter(production, command, instead)


@pytest.mark.docker
@pytest.mark.xdist_group("docker-untimed")
def test_demo_starts_a_service(engine, tmp_path):
    """Run ``make demo`` in a clone in which the tools are installed."""
    clone = tmp_path / "clone"
    ignored = shutil.ignore_patterns(".venv", ".git", "build", ".hypothesis", "*_cache")
    shutil.copytree(TEMPLATE, clone, ignore=ignored)
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
    os.utime(clone / "pyproject.toml", (0, 0))  # older than the tools

    mine = {"COMPOSE_PROJECT_NAME": apart("demo"), "HTTP_PORT": "8191"}
    try:
        done = run("make", "demo", cwd=clone, **mine)
        page = urlopen("http://127.0.0.1:8191").read().decode()
    finally:
        free_containers(clone / "build/demo", **mine)

    assert "\nUp: http://127.0.0.1:8191\n" in done.stdout
    assert "<h1>Demo</h1>" in page
