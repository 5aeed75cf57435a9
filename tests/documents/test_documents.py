"""The documents are correct: commands, tables, recipes and links."""

import ast
import functools
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from html import unescape
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from projects import (
    BARE,
    EACH,
    ENVIRONMENT,
    FULL,
    TEMPLATE,
    commands,
    each_combination,
    run,
    running,
)
from recipes import RECIPES, copied, follow, needs_containers
from stacks import free_containers, temporary_stack, unique_name, wait_for

SLUG = "{{cookiecutter.project_slug}}"
README = TEMPLATE / SLUG / "README.md"
DOCUMENTS = [*sorted(TEMPLATE.glob("*.md")), *sorted(TEMPLATE.glob("docs/**/*.md"))]
PAGES = [README, *sorted(README.parent.glob("docs/*.md"))]  # of a generated project
ALL = pytest.mark.parametrize(
    "document", [*DOCUMENTS, *PAGES], ids=lambda path: str(path.relative_to(TEMPLATE))
)
TEMPLATE_URL = json.loads((TEMPLATE / "cookiecutter.json").read_text())["__template_url"]
# The sections of these pages that tests below follow, in the order of each page
FOLLOWED = {
    "README.md": ["Your first change"],
    "docs/accounts.md": [
        "Protect a view",
        "Test as a user",
        "Add a column to the user",
        "Without registration",
    ],
    "docs/add.md": ["One password for everybody", "A token for programs"],
    "docs/change.md": [
        "A form",
        "A table",
        "An enum",
        "Revert a migration",
        "A setting",
        "A program on your machine",
    ],
    "docs/configure.md": ["An external database"],
    "docs/deploy.md": ["HTTPS"],
    "docs/files-and-streams.md": [
        "Receive a file",
        "Keep uploaded files",
        "Uploads over 1 MB",
        "Test an upload",
    ],
    "docs/remove.md": [
        "The example of a JSON resource",
        "The example of a job",
        "The example on the home page",
        "The debug toolbar",
    ],
    "docs/troubleshooting.md": ["HTTP without TLS"],
}

SERVICES = [FULL, pytest.param(BARE, marks=pytest.mark.weekly)]
# Commands that other files run
ELSEWHERE = {
    "docker compose down --volumes": (
        "tests/shared/stacks.py",
        "docker compose down --volumes",
    ),
    """docker compose exec web celery --app user.make_celery call user.tasks.example --args='["now"]'""": (
        "tests/running/test_stack.py",
        '"call", f"{SLUG}.tasks.example"',
    ),
    **{
        f"docker compose exec web flask users {command}": (
            "tests/options/test_accounts.py",
            'commands((stack.project / "docs/accounts.md")',
        )
        for command in (
            "create ann@example.org --active",
            "deactivate ann@example.org",
            "activate ann@example.org",
        )
    },
    "make up": ("tests/running/test_stack.py", '"make", "up"'),
    "make update": ("tests/running/test_images.py", 'make(stack, "update")'),
    "make lint": (".ci/run", "make lint"),
    "make test": (".ci/run", "make test"),
    "make test-faults": ("tests/faults/test_faults.py", "pytest.mark.faults"),
    "make check": ("tests/generated/test_checks.py", '"make", "check"'),
    "docker compose exec queue redis-cli llen celery": (
        "tests/options/test_jobs.py",
        '"llen", "celery"',
    ),
    "docker compose exec worker celery --app user.make_celery inspect active": (
        "tests/options/test_jobs.py",
        '"inspect", "active"',
    ),
    'docker run --detach --restart=unless-stopped --network=user_front --volume="$PWD/prometheus:/etc/prometheus:ro" --publish=127.0.0.1:9090:9090 prom/prometheus:v3.5.3': (
        "tests/options/test_metrics.py",
        'commands((project / "docs/monitor.md")',
    ),
    'docker run --rm --volume="$PWD/prometheus:/etc/prometheus:ro" --entrypoint=promtool prom/prometheus:v3.5.3 test rules /etc/prometheus/alerts_test.yaml': (
        "tests/options/test_metrics.py",
        "[_, test] = commands(",
    ),
    "uvx schemathesis run http://127.0.0.1:{{ cookiecutter.__published_port }}/openapi.json": (
        "tests/options/test_openapi.py",
        'startswith("uvx schemathesis")',
    ),
    "make format": ("tests/documents/test_documents.py", 'run("make", "format", "check"'),
    "make shell": ("tests/documents/test_documents.py", "| make shell | grep user"),
    "make worker": ("tests/documents/test_documents.py", "make worker 2>&1"),
    "docker compose up": (
        "tests/faults/test_deployments.py",
        'compose("up", "--detach", "--wait")',
    ),
    "kubectl create secret tls": ("tests/options/test_kubernetes.py", "create secret tls"),
    "npm --prefix assets run watch": (
        "tests/options/test_frontend.py",
        "watch, add = commands(",
    ),
    "npm --prefix assets install --save-exact NAME": (
        "tests/options/test_frontend.py",
        "watch, add = commands(",
    ),
    "make audit": ("tests/generated/test_supply.py", '"audit"'),
    "make env deploy": ("tests/faults/test_two_years.py", '"make", "env", "deploy"'),
    "docker compose restart beat": ("tests/faults/test_clock.py", '"restart", "beat"'),
    "docker compose restart redis": ("tests/faults/test_clock.py", '"restart", "redis"'),
    "docker compose restart caddy": ("tests/options/test_tls.py", '"restart", "caddy"'),
    "docker compose stop web": (
        "tests/running/test_backup.py",
        '"A new major version of PostgreSQL"',
    ),
    "docker compose stop web worker beat": (
        "tests/running/test_backup.py",
        '"A new major version of PostgreSQL"',
    ),
    "make backup": ("tests/running/test_backup.py", 'make(stack, "backup")'),
    "make drill": ("tests/running/test_backup.py", '"drill"'),
    "make restore file=backups/NAME.sql.gz": ("tests/running/test_backup.py", '"restore"'),
    "make restore": ("tests/running/test_backup.py", '"restore"'),
    "make deploy replicas=2": ("tests/faults/test_deployments.py", 'f"replicas={number}"'),
    "make assets": ("tests/options/test_frontend.py", '"make", "lock", "assets"'),
    "make manifests": ("tests/options/test_kubernetes.py", '"make", "manifests"'),
    "make test-stack": ("tests/running/test_stack.py", "test-stack"),
    "make rollout": ("tests/options/test_kubernetes.py", "rollout"),
    "make secrets": ("tests/options/test_kubernetes.py", "secrets"),
    "docker compose exec -T web tar -C instance -c . > instance.tar": (
        "tests/running/test_owner.py",
        "save, restore = commands(",
    ),
    "docker compose exec -T web tar -C instance -x < instance.tar": (
        "tests/running/test_owner.py",
        "save, restore = commands(",
    ),
    """uvx cruft update --refresh-private-variables --variables-to-update '{"OPTION": false}'""": (
        "tests/updates/test_updates.py",
        "Add or remove an option",
    ),
    "make env lock check": ("tests/updates/test_updates.py", "Add or remove an option"),
}
KUBECTL = {
    "kubectl config set-context --current "
    '--namespace={{ cookiecutter.project_slug | replace("_", "-") }}',
    "kubectl logs --selector=app.kubernetes.io/component=web --all-containers --follow",
    "kubectl logs job/migrate",
    "kubectl rollout restart deployment",
    "kubectl rollout undo deployment/web"
    '{{ " deployment/worker deployment/beat" if cookiecutter.use_worker }}',
    "kubectl get pods --all-namespaces --output=wide",
}
# Commands that nobody runs but by hand, and why
BY_HAND = {
    "make bench": "it takes minutes, and measures only on a quiet machine",
    "make soak": "it takes 45 minutes",
    "make watch": "it does not end; tests/running/test_stack.py runs what it runs",
    "docker buildx imagetools inspect nginxinc/nginx-unprivileged:1.30": "it needs a registry",
} | dict.fromkeys(KUBECTL, "no test has a cluster; tests/options/test_kubernetes.py parses them")


def spans(text):
    """Return the inline code."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def followed(document):
    """Return the commands in the sections of a page that tests follow."""
    text = document.read_text().replace("{{ cookiecutter.project_slug }}", "user")
    found = []
    for heading in FOLLOWED.get(str(document.relative_to(README.parent)), []):
        [section] = re.findall(rf"(?ms)^##+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)", text)
        found += [command for command in commands(section) if not needs_containers(command)]
    return found


@ALL
def test_every_command_is_run_by_a_test(document):
    text = document.read_text().replace("{{ cookiecutter.project_slug }}", "user")
    typed = commands(text)
    if document.name == "CHANGELOG.md":  # its lists describe upgrades, which are done by hand
        typed = re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    typed = [re.sub(" {2,}#.*", "", command) for command in typed]  # without comments
    if document in PAGES:
        programs = ("docker ", "kubectl ", "make ", "npm ", "npx ", "uv ", "uvx ")
        typed += [span for span in spans(text) if span.startswith(programs)]
        known = [command for page in PAGES for command in followed(page)]
        typed = [command for command in typed if command not in known]
    if document.name == "upgrading.md":
        updates = "".join((TEMPLATE / "tests/updates/test_updates.py").read_text().split())
        headings = re.findall("^## (.+)$", text, re.M)
        run_there = [h for h in headings if f'typed("{h}")'.replace(" ", "") in updates]
        typed = [c for c in typed if not any(c in commands(text, h) for h in run_there)]
    for command in set(typed) - BY_HAND.keys():
        if command in ELSEWHERE:
            file, trace = ELSEWHERE[command]
            assert trace in without_tables(file), command
        else:
            assert command in run_by_tests(), command


@functools.cache
def without_tables(file):
    """Return the text of a file; in this one, the tables above name what they look for."""
    text = (TEMPLATE / file).read_text()
    if TEMPLATE / file != Path(__file__):
        return text
    before, after = text.index("\nELSEWHERE = {"), text.index("\ndef spans(")
    return text[:before] + text[after:]


@functools.cache
def run_by_tests():
    """Return the texts in the tests that run commands."""
    files = [
        "documents/test_documents.py",
        "documents/test_readme.py",
        "options/test_kubernetes.py",
    ]
    trees = [ast.parse(without_tables(f"tests/{file}")) for file in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.value for node in nodes if isinstance(node, ast.Constant)}


def test_each_exception_is_still_in_a_document():
    texts = [document.read_text() for document in [*DOCUMENTS, *PAGES]]
    named = "\n".join(texts).replace("{{ cookiecutter.project_slug }}", "user")

    assert [command for command in [*BY_HAND, *ELSEWHERE] if command not in named] == []


@ALL
def test_every_target_is_in_a_makefile(document):
    makefiles = [TEMPLATE / "Makefile", README.with_name("Makefile")]
    makefiles += document.parent.glob("*/*.patch")  # of recipes
    known = {t for f in makefiles for t in re.findall(r"^\+?([a-z-]+):", f.read_text(), re.M)}
    named = re.findall(
        r"\bmake (?:-C \S+ )?([a-z-]+(?: [a-z-]+)*)(?=`| [a-z]+=|$)", document.read_text(), re.M
    )

    assert {target for names in named for target in names.split()} <= known


def broken_links(document):
    """Yield the links of a document whose file or heading does not exist."""
    text = re.sub("(?s)```.*?```|`[^`\n]*`", "", document.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        file = document.parent / path if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target


def anchors(document):
    """Return the anchors that GitHub gives to the headings."""
    text = re.sub("(?ms)^ *```.*?^ *```", "", document.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_have_targets(document):
    assert list(broken_links(document)) == []


@each_combination()
def test_links_of_a_project_have_targets(fresh):
    pages = [fresh / "README.md", *fresh.glob("docs/*.md")]

    assert {page.name: links for page in pages if (links := list(broken_links(page)))} == {}


@each_combination()
def test_each_page_of_a_project_can_be_reached_from_its_readme(fresh):
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", (fresh / "README.md").read_text()))

    assert linked == {f"docs/{page.name}" for page in fresh.glob("docs/*.md")}


@each_combination()
def test_links_to_the_template_have_targets(fresh):
    pages = [fresh / "README.md", *fresh.glob("docs/*.md")]
    url = re.escape(TEMPLATE_URL) + r"/blob/main/([\w./-]+)"
    linked = {path for page in pages for path in re.findall(url, page.read_text())}

    assert linked
    assert [path for path in linked if not (TEMPLATE / path).exists()] == []


@each_combination()
def test_readme_of_a_project_is_one_page(fresh):
    text = (fresh / "README.md").read_text()

    assert len(text.splitlines()) <= 90
    assert len(text.split()) <= 700
    assert len(re.findall(r"^\| `make ", text, re.M)) == 10


@each_combination()
def test_tree_in_the_readme_of_a_project_has_its_files(fresh):
    [tree] = re.findall(r"(?s)```text\n(.*?)```", (fresh / "README.md").read_text())
    for line in tree.splitlines():
        paths = line.strip().split("  ")[0]  # what follows says what they are
        names = re.findall(r"[\w/]+/|[\w/]+\.\w+|Dockerfile", paths)
        parent = fresh / "my_service" if line.startswith("    ") else fresh
        assert [name for name in names if not any(parent.rglob(name.rstrip("/")))] == [], line
        assert names or not paths, line


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
    typed = ["Corner Shop", "", "Sells milk.", *[""] * 15]

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
    prompts = re.findall(r"^\[\d+/18\] [^[:\n]+", picture, re.M)
    assert len(prompts) == 18
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
    assert not (tmp_path / "corner_shop/corner_shop/core/cache.py").exists()


def defaults(project):
    """Return the defaults in ``config/settings.py`` that are constants, by setting."""
    text = (project / "config/settings.py").read_text()
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    found = {}
    for call in calls:
        if ast.unparse(call.func) in {"read", "number"}:
            named = [keyword.value for keyword in call.keywords if keyword.arg == "default"]
            given = [a.value for a in [*call.args, *named] if isinstance(a, ast.Constant)]
            found |= dict([given[:2]] if len(given) > 1 else [])
    return found


@each_combination()
def test_table_of_settings_is_complete_and_has_the_defaults(project):
    text = (project / "docs/configure.md").read_text()
    table = text.split("| variable | default | meaning |")[1].split("\n\n")[0]
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


def cut(file, *patterns):
    """Delete the matches of each pattern."""
    for pattern in patterns:
        text, count = re.subn(pattern, "", file.read_text(), flags=re.M)
        assert count, (file, pattern)
        file.write_text(text)


@pytest.mark.parametrize("services", SERVICES, ids=["full", "bare"])
def test_first_change_is_made_as_the_readme_says(bake, services):
    project = bake(**services)

    follow(project, "README.md", "Your first change")

    changed = (
        project / "my_service" / ("notes.py" if services["use_postgres"] else "home.py")
    ).read_text()
    assert "def title(" in changed or "def hello(" in changed


def test_service_is_changed_as_described(bake):
    project = bake(project_slug="shop")

    for heading in ("A table", "An enum", "A setting"):
        follow(project, "docs/change.md", heading)

    [new] = (project / "shop/migrations").glob("*add_orders*.py")
    assert "native_enum=False" in new.read_text()
    run("make", "check", cwd=project)


# To drop a column, SQLite copies the table, and with foreign keys it would delete the tags.
TAGGED_NOTE = """
CREATE TABLE tags (note_id INTEGER REFERENCES notes ON DELETE CASCADE);
INSERT INTO notes (id, title, body, created_at) VALUES (1, 'a', 'b', '2026-01-01');
INSERT INTO tags VALUES (1);
"""


def test_table_can_be_changed_as_described(bake):
    project = bake(project_slug="shop")

    follow(project, "docs/change.md", "A table")

    [new] = (project / "shop/migrations").glob("*add_a_column*.py")
    assert 'batch_op.add_column(sa.Column("stars", sa.Integer(), nullable=True))' in new.read_text()
    run(*"uv run flask --app shop db check".split(), cwd=project)
    with closing(sqlite3.connect(project / "instance/shop.db")) as database:
        database.executescript(TAGGED_NOTE)
        follow(project, "docs/change.md", "Revert a migration")
        tags = database.execute("SELECT * FROM tags").fetchall()
    assert tags == [(1,)]
    assert "0001" in run(*"uv run flask --app shop db current".split(), cwd=project).stdout


API = FULL | {"use_openapi": True}  # its document describes the tokens


@pytest.mark.parametrize(
    "options",
    [
        API | {"use_accounts": True},
        pytest.param(API, marks=pytest.mark.weekly),
        pytest.param(BARE, marks=pytest.mark.weekly),
    ],
    ids=["accounts", "full", "bare"],
)
def test_additions_work_as_described(bake, options):
    project = bake(project_slug="shop", **options)

    password, *others = FOLLOWED["docs/add.md"]
    follow(project, "docs/add.md", password)
    run("uv", "run", "--quiet", "ruff", "check", cwd=project)  # the imports are sorted as described
    follow(project, "docs/change.md", "A form")
    page = (project / "docs/add.md").read_text()
    for heading in others:
        if f"# {heading}\n" in page:
            follow(project, "docs/add.md", heading)
    follow(project, "docs/files-and-streams.md", "Receive a file")
    follow(project, "docs/files-and-streams.md", "Test an upload")

    run("make", "format", "check", cwd=project)


def test_example_and_toolbar_can_be_removed_as_described(bake):
    project = bake(project_slug="shop")

    printed = follow(project, "docs/remove.md", "The example of a JSON resource")
    printed += follow(project, "docs/remove.md", "The debug toolbar")

    assert len(re.findall(r"\d+ passed", printed)) == 2
    notes = run("grep", "-rlw", "notes", "shop", "tests", cwd=project, check=False).stdout
    assert notes == ""


@pytest.mark.weekly
def test_example_of_a_job_can_be_removed_as_described(bake):
    project = bake(project_slug="shop", use_worker=True)
    cut(
        project / "shop/templates/home.html",
        r"^ *\{% if config.QUEUE_URL.*\n(.*\n)*? *\{% endif %\}\n",
    )

    printed = follow(project, "docs/remove.md", "The example of a job")

    assert re.search(r"\d+ passed", printed)


@each_combination("frontend")
def test_example_on_the_home_page_can_be_removed_as_described(fresh, chosen, tmp_path):
    if chosen["frontend"] == "none":
        pytest.skip("no front end")
    project = shutil.copytree(fresh, tmp_path / "my_service")
    page = (project / "docs/remove.md").read_text()
    (project / "docs/remove.md").write_text(page.replace("$ make format check", "$ true"))

    follow(project, "docs/remove.md", "The example on the home page")

    left = run("grep", "-rli", "greeting", "my_service", "tests", cwd=project, check=False).stdout
    assert left == ""


@each_combination()
def test_changes_of_files_fit_each_project(fresh, chosen, tmp_path):
    project = shutil.copytree(fresh, tmp_path / "my_service")

    follow(project, "docs/files-and-streams.md", "Keep uploaded files")
    follow(project, "docs/files-and-streams.md", "Uploads over 1 MB")
    follow(project, "docs/change.md", "A program on your machine")
    follow(project, "docs/troubleshooting.md", "HTTP without TLS")
    if chosen["use_nginx"] and not chosen["use_tls"]:
        follow(project, "docs/deploy.md", "HTTPS")

    compose = yaml.safe_load((project / "compose.yaml").read_text())
    override = yaml.safe_load((project / "compose.override.yaml").read_text().replace("!reset", ""))
    assert compose["services"]["web"]["volumes"] == ["instance:/app/instance"]
    assert compose["services"]["web"]["environment"]["TMPDIR"] == "/app/instance"
    assert "instance" in compose["volumes"]
    assert override["services"]["web"]["extra_hosts"] == ["host.docker.internal:host-gateway"]


@each_combination("use_postgres")
def test_database_can_be_external(fresh, tmp_path):
    project = shutil.copytree(fresh, tmp_path / "my_service")

    follow(project, "docs/configure.md", "An external database")

    web, migrate = (
        yaml.safe_load((project / "compose.yaml").read_text())["services"][name]
        for name in ("web", "migrate")
    )
    assert web["environment"]["DATABASE_URL"] == "${DATABASE_URL:?set it in .env}"
    assert "PGPASSWORD" not in web["environment"]
    assert migrate["networks"] == ["front"]
    assert migrate["depends_on"] == {}


@pytest.fixture
def database(bridge):
    """Start a PostgreSQL that belongs to no project; return its URL."""
    name, secret = unique_name("database"), "POSTGRES_PASSWORD=only-for-tests"
    publish = f"--publish={bridge}::5432"
    start = ["docker", "run", "--detach", f"--name={name}", f"--env={secret}", publish]
    run(*start, "postgres:18-trixie", cwd=TEMPLATE)
    try:
        port = run("docker", "port", name, "5432", cwd=TEMPLATE).stdout.strip().rpartition(":")[2]
        login = f"docker exec {name} pg_isready --host=127.0.0.1".split()
        wait_for(lambda: run(*login, cwd=TEMPLATE, check=False).returncode == 0, 60)
        yield f"postgresql+psycopg://postgres:only-for-tests@{bridge}:{port}/postgres"
    finally:
        run("docker", "rm", "--force", "--volumes", name, cwd=TEMPLATE)


@pytest.mark.docker
@pytest.mark.faults
@pytest.mark.weekly
@pytest.mark.xdist_group("docker-untimed")
def test_service_is_deployed_with_an_external_database(database, cookies_session):
    with temporary_stack(cookies_session, FULL, "external", 8193) as stack:
        compose = stack.project / "compose.yaml"
        follow(stack.project, "docs/configure.md", "An external database")
        without = re.sub(r"(?ms)^  postgres:\n.*?(?=^  \w)", "", compose.read_text(), count=1)
        compose.write_text(without.replace("  postgres18:\n", ""))
        with (stack.project / ".env").open("a") as settings:
            settings.write(f"COMPOSE_FILE=compose.yaml\nDATABASE_URL={database}\n")
        for _ in range(2):
            run("make", "deploy", cwd=stack.project)

        assert stack.get("/notes", "POST", {"title": "Elsewhere"}).status == 201
        assert "Elsewhere" in stack.get("/notes").text
        assert "postgres" not in stack.compose("ps", "--services").stdout.split()


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


def test_examples_are_added_before_the_service_starts(bake):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with running("make seed run".split(), bake(**FULL), PORT=str(port)) as (_, log):
        wait_for(lambda: "Starting on" in log.read_text(), 120)
        wait_for(lambda: urlopen(f"http://127.0.0.1:{port}/livez", timeout=5).status == 200, 60)
        notes = json.load(urlopen(f"http://127.0.0.1:{port}/notes", timeout=5))

    assert len(notes["items"]) > 1


@pytest.mark.parametrize(
    "command",
    [
        "make help",
        "make env",
        "make lock",
        "make upgrade",
        'make revision m="delete notes"',
        "echo 'print(app.name)' | make shell | grep user",
        "make worker 2>&1 | grep 'QUEUE_URL is not set'",
    ],
)
def test_command_in_a_sentence_works_without_containers(small, command):
    run("sh", "-c", command, cwd=small)


@pytest.fixture(scope="module")
def small(cookies_session):
    """Generate a project, in which tests run commands that need no containers."""
    options = {"project_slug": "user", "use_worker": True, "use_nginx": False}
    return cookies_session.bake(extra_context=options).project_path


@pytest.fixture(scope="module")
def production(engine, cookies_session):
    """Deploy a project with all options, as its README describes."""
    with temporary_stack(cookies_session, FULL, "production", 8192) as stack:
        run_documented(stack.project, "make deploy")
        yield stack.project


def run_documented(project, command, instead=None, **environment):
    """Run a command of the generated documents, or ``instead`` with the values of a reader."""
    pages = [project / "README.md", *project.glob("docs/*.md")]
    text = "".join(page.read_text() for page in pages)
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

    @pytest.mark.weekly
    def test_load_test_runs(self, production):
        with (production / ".env").open("a") as settings:
            settings.write("RATE_LIMIT=100000r/s\nRATE_BURST=10000\n")
        run_documented(production, "make deploy")
        load = "make load users=16 seconds=20"
        printed = run_documented(production, load, load.replace("20", "5"))

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
        new = 'n"w $ 1'

        run_documented(production, change, f'printf "%s\\n" "$NEW" "$NEW" | {change}', NEW=new)
        text = dotenv.read_text().replace("REDIS_PASSWORD=", "REDIS_PASSWORD=new")
        dotenv.write_text(text.replace(old, f"'{new}'"))
        run_documented(production, "make deploy")

        wait_for(ready, 60)
        as_role = ("--host=127.0.0.1", "--username=user")
        assert psql(production, "SELECT 1", *as_role, PGPASSWORD=new) == "1\n"
        refused = psql(production, "SELECT 1", *as_role, check=False, PGPASSWORD=old)
        assert 'password authentication failed for user "user"' in refused

    @pytest.mark.faults
    @pytest.mark.weekly
    def test_earlier_version_can_be_deployed_again(self, production):
        downgrade = "docker compose run --rm --build migrate flask db downgrade"
        upgrade = "docker compose exec web flask db upgrade"
        psql(production, "UPDATE alembic_version SET version_num = 'later'")

        failed = run("make", "deploy", cwd=production, check=False)
        run_documented(production, "make deploy migrate=no")

        wait_for(ready, 60)
        assert failed.returncode
        assert "Can't locate revision identified by 'later'" in failed.stdout
        psql(production, "UPDATE alembic_version SET version_num = '0001'")
        run_documented(production, downgrade)
        assert "notes" not in psql(production, "SELECT tablename FROM pg_tables")
        run_documented(production, upgrade)
        run(*"docker compose exec web flask db downgrade".split(), cwd=production)  # without nginx
        run_documented(production, upgrade)
        assert "notes" in psql(production, "SELECT tablename FROM pg_tables")

    @pytest.mark.parametrize(
        ("command", "instead"),
        [
            ("docker build .", None),
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
            ("docker ps", None),
            ("make logs", "timeout 60 make logs | head -1 | grep -q ."),
            ("make psql", "echo 'SELECT 6 * 7' | make psql | grep 42"),
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
        run_documented(production, command, instead)


@pytest.mark.docker
@pytest.mark.xdist_group("docker-untimed")
def test_demo_starts_a_service(engine, tmp_path):
    """Run ``make demo`` in a clone in which the tools are installed."""
    clone = tmp_path / "clone"
    ignored = shutil.ignore_patterns(".venv", ".git", "build", ".hypothesis", "*_cache")
    shutil.copytree(TEMPLATE, clone, ignore=ignored)
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
    os.utime(clone / "pyproject.toml", (0, 0))  # older than the tools

    mine = {"COMPOSE_PROJECT_NAME": unique_name("demo"), "HTTP_PORT": "8191"}
    try:
        done = run("make", "demo", cwd=clone, **mine)
        page = urlopen("http://127.0.0.1:8191").read().decode()
        run(*"make down".split(), cwd=clone / "build/demo", **mine)
    finally:
        free_containers(clone / "build/demo", **mine)

    assert "\nUp: http://127.0.0.1:8191\n" in done.stdout
    assert "<h1>Demo</h1>" in page
