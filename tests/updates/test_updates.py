"""Updates of a generated project, to a later version and to other answers."""

import itertools
import json
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from dotenv import dotenv_values
from projects import (
    BARE,
    FULL,
    OPTIONS,
    ROWS,
    TEMPLATE,
    WHOLE,
    change,
    commands,
    config_in,
    locked,
    name_of,
    parameters,
    run,
)
from stacks import Stack, free_containers, unique_name

IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in {"NAME": "Owner", "EMAIL": "owner@example.com"}.items()
}
OF_THE_OWNER = {".env", "uv.lock", "assets/package-lock.json"}  # updates do not change them
OF_CRUFT = {".cruft.json"}
NAME = "cookiecutter-flask-docker"

CHANGELOG = (TEMPLATE / "CHANGELOG.md").read_text()
NEWEST = re.search(r"^## (\d+\.\d+\.\d+)", CHANGELOG, re.MULTILINE)[1]
# The steps to do by hand, and the release that they start from
BEFORE, STEPS = re.search(
    r"^### Upgrade from (\S+)\n(.*?)^##", CHANGELOG, re.MULTILINE | re.DOTALL
).groups()


def typed(heading):
    """Return the commands in a section of docs/upgrading.md; the tests below run them."""
    return commands((TEMPLATE / "docs/upgrading.md").read_text(), heading)


def git(folder, *arguments):
    return run("git", *arguments, cwd=folder, **IDENTITY).stdout


def commit(folder, message):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", message)


@dataclass
class Template:
    """A clone of the template, with uncommitted changes as a commit."""

    folder: Path

    def release(self, version):
        """Return the commit of a release, which added its section to the changelog."""
        history = ["log", "--reverse", "--format=%H", f"-S## {version}", "--", "CHANGELOG.md"]
        return git(self.folder, *history).split()[0]

    def before_core(self):
        """Return the last commit without the folder ``core/``, which has more options."""
        package = "{{cookiecutter.project_slug}}/{{cookiecutter.project_slug}}"
        history = ["log", "--format=%H", "--diff-filter=D", "--", f"{package}/errors.py"]
        return git(self.folder, *history).split()[0] + "~1"


def test_version_is_the_same_everywhere():
    mine = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())
    theirs = (TEMPLATE / "{{cookiecutter.project_slug}}/pyproject.toml").read_text()
    told = re.search(r'^\[tool.cookiecutter-flask-docker\].*\nversion = "(.+)"$', theirs, re.M)

    assert mine["project"]["version"] == NEWEST
    assert told[1] == NEWEST


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Clone the template; add a commit of uncommitted changes, and one of a later version."""
    folder = tmp_path_factory.mktemp("git") / NAME  # cookiecutter needs "git" in the URL
    git(TEMPLATE, "clone", "--quiet", TEMPLATE, folder)
    git(folder, "rm", "-r", "--quiet", ".")
    known = git(TEMPLATE, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in filter(None, known.split("\0")):
        if (TEMPLATE / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / path, folder / path)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", "Not committed")
    with (folder / "{{cookiecutter.project_slug}}/README.md").open("a") as readme:
        readme.write("\nA later version says so.\n")
    commit(folder, "A later version")
    return Template(folder)


@pytest.fixture
def shell(template, tmp_path):
    """Return a function that runs a command, with the clone instead of the URL of the template."""
    config = config_in(tmp_path)

    def type_in(folder, command, **replacements):
        names = {f"gh:ORG/{NAME}": f"file://{template.folder}", "uvx cruft": "cruft"}
        names[f"https://github.com/ORG/{NAME}"] = f"file://{template.folder}"
        for old, new in (names | replacements).items():
            command = command.replace(old, new)
        shutil.rmtree(tmp_path / "cookiecutters_dir", ignore_errors=True)
        return run("sh", "-c", command, cwd=folder, COOKIECUTTER_CONFIG=str(config), **IDENTITY)

    return type_in


@pytest.fixture
def create(template, tmp_path, shell):
    """Return a function that generates a project with cruft and commits it."""
    [command, *_] = typed("With cruft")

    def cruft(folder, options, version="HEAD"):
        answers = json.dumps({"project_slug": "shop", **options})
        (tmp_path / folder).mkdir()
        given = f"--no-input --checkout {version} --extra-context '{answers}'"
        shell(tmp_path / folder, f"{command} {given}")
        project = tmp_path / folder / "shop"
        git(project, "init", "--quiet")
        commit(project, "Generated")
        return project

    return cruft


HELLO = '''"""Greetings."""

from flask import Blueprint, render_template

from .core import logs

bp = Blueprint("about", __name__)


@bp.get("/hello")
def hello() -> str:
    """Greet."""
    logs.add_fields(greeting=True)
    return render_template("hello.html", names=[])
'''
HELLO_PAGE = """{% extends "base.html" %}
{% block main %}
<h1>{{ config.GREETING }} {{ names | list }}</h1>
{% endblock %}
"""
SETTING = """
# The greeting of the page
GREETING = env.str("GREETING", "Hello")

try:
    env.seal()
"""
QUERY = """from sqlalchemy import select

from .core import logs
from .core.database import db
from .models import Note
"""
HELLO_AUTHORS = HELLO.replace("\nfrom .core import logs\n", QUERY).replace(
    "names=[]", "names=db.session.scalars(select(Note.author))"
)
TEST = '''"""Greetings."""

import pytest
from flask.testing import FlaskClient

from shop.core import logs
from shop.core.security import HEADERS


def test_greeting(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.core.logs.quote", str)
    response = client.get("/hello")

    assert "Hello" in response.text
    assert logs.logger.name == "shop.requests"
    assert response.headers["Permissions-Policy"] == HEADERS["Permissions-Policy"]
    assert "usb=(self)" in HEADERS["Permissions-Policy"]
'''
MIGRATION = '''"""Remember who wrote a note.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("notes", sa.Column("author", sa.String(length=100), nullable=True))


def downgrade() -> None:
    """Revert the change."""
    op.drop_column("notes", "author")
'''


def register(project):
    """Add the blueprint to ``create_app()``."""
    factory = project / "shop/__init__.py"
    first = "    core,\n" if (project / "shop/core").exists() else "    assets,\n"
    change(factory, first, f"    about,\n{first}")
    change(factory, "    return app", "    app.register_blueprint(about.bp)\n    return app")


def adapt_tests(project):
    """Let the tests expect the setting and the header that the owner has changed."""
    change(project / "tests/test_production.py", "timedelta(hours=12)", "timedelta(hours=6)")
    change(project / "tests/core/test_security.py", "usb=()", "usb=(self)")


def edit(project, options):
    """Add a page with a test, a setting, a dependency, a script, a column and a migration."""
    register(project)
    old = not (project / "shop/core").exists()  # a project of the release before
    core = "" if old else "core/"
    change(project / f"shop/{core}security.py", "usb=()", "usb=(self)")
    settings = project / "config/settings.py"
    change(settings, "timedelta(hours=12)", "timedelta(hours=6)")
    change(settings, "\ntry:\n    env.seal()\n", SETTING)
    change(project / "compose.yaml", "      LOG_FORMAT:", "      GREETING:\n      LOG_FORMAT:")
    example = project / ".env.example"
    blocks = example.read_text().split("\n\n")
    place = next(n for n, block in enumerate(blocks, 1) if "FLASK_DEBUG=" in block)
    blocks.insert(place, "# The greeting of the page\n# GREETING=Hello")
    example.write_text("\n\n".join(blocks))
    (project / "shop/templates/hello.html").write_text(HELLO_PAGE)
    toml = project / "pyproject.toml"  # in alphabetical order, as `uv add` does
    added = re.sub('( +"flask>=.*\n)', r'\1    "flask-wtf>=1.2",\n', toml.read_text())
    toml.write_text(added)
    script, hello, test = "python3 bin/env\n", HELLO, TEST
    if options["use_postgres"]:
        script, hello = f"{script}uv run flask db upgrade\n", HELLO_AUTHORS
        body = "    body: Mapped[str] = mapped_column(Text)\n"
        author = "    author: Mapped[str | None] = mapped_column(String(100))\n"
        change(project / "shop/models.py", body, body + author)
        migrations = project / "shop/migrations"
        number = len(list(migrations.glob("0*.py"))) + 1
        migration = MIGRATION.replace("0002", f"000{number}").replace("0001", f"000{number - 1}")
        (migrations / f"000{number}_author.py").write_text(migration)
    if old:
        hello = hello.replace(".core import", ". import").replace(".core.", ".")
        test = test.replace("shop.core", "shop")
    (project / "release.sh").write_text(script)
    (project / "shop/about.py").write_text(hello)
    (project / "tests/test_hello.py").write_text(test)
    if not old:
        adapt_tests(project)
    commit(project, "Ours")


def follow_changelog(project, shell):
    """Follow the steps of the changelog under "Upgrade from"."""
    take_theirs, change_imports, *steps = re.findall(r"^ *\$ (.+)$", STEPS, re.MULTILINE)
    shell(project, take_theirs)
    register(project)
    shell(project, change_imports)
    adapt_tests(project)
    assert git(project, "diff", "--name-only", "--diff-filter=U").split() == ["shop/__init__.py"]
    return steps  # for projects with a worker


def files_for_git(project):
    listed = git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return {
        path: (project / path).read_bytes()
        for path in listed.split("\0")
        if path and (project / path).is_file()
    }


def differing(first, second):
    """Return the paths of files that are not in both projects, or differ."""
    one, other = files_for_git(first), files_for_git(second)
    return {path for path in one | other if one.get(path) != other.get(path)}


COUNT = """
from shop import create_app
print(len(create_app().test_client().get("/notes").json["items"]), "notes")
"""


def left_alone(project):
    files = [project / name for name in OF_THE_OWNER]
    return {file: file.read_bytes() for file in files if file.exists()}


@pytest.mark.parametrize("combination", parameters([FULL, BARE] if WHOLE else [FULL]))
def test_project_of_the_previous_release_can_be_updated(create, template, shell, combination):
    _, _, update, finish = typed("With cruft")
    project = create("ours", combination, template.release(BEFORE))
    edit(project, combination)
    if combination["use_postgres"]:
        shell(project, "make seed")
        commit(project, "Locked")
    before = left_alone(project)

    shell(project, f"{update} --skip-apply-ask")
    assert left_alone(project) == before
    follow_changelog(project, shell)

    fresh = create("fresh", combination)
    edit(fresh, combination)
    assert differing(project, fresh) <= OF_THE_OWNER | OF_CRUFT
    assert "A later version" in (project / "README.md").read_text()
    assert re.search(r"\d+ passed", shell(project, finish).stdout)
    if combination["use_postgres"]:
        shell(project, "FLASK_APP=shop sh release.sh")
        shell(project, 'make revision m="nothing"')
        [revision] = set((project / "shop/migrations").glob("*_nothing.py"))
        assert 'down_revision = "0002"' in revision.read_text()
        assert "5 notes" in shell(project, f"uv run --quiet python -c '{COUNT}'").stdout


@pytest.mark.faults
@pytest.mark.weekly
@pytest.mark.parametrize("combination", parameters([ROWS[0]]))
def test_project_with_every_option_can_be_updated(create, template, shell, combination):
    """The former example of the worker had a column, whose migration the project keeps."""
    _, _, update, finish = typed("With cruft")
    project = create("ours", combination, template.before_core())
    edit(project, combination)

    shell(project, f"{update} --skip-apply-ask")
    for step in follow_changelog(project, shell):
        shell(project, step)

    fresh = create("fresh", combination)
    edit(fresh, combination)
    other = differing(project, fresh) - OF_THE_OWNER - OF_CRUFT
    assert {path for path in other if "/migrations/" not in path} == set()
    assert re.search(r"\d+ passed", shell(project, finish).stdout)


def test_project_that_cookiecutter_generated_can_be_linked(create, template, shell, tmp_path):
    _, link, update, _ = typed("With cruft")
    answers = {"project_slug": "shop"} | BARE
    given = " ".join(f"{name}={value}" for name, value in answers.items())
    release = template.release(BEFORE)
    generate = f"cookiecutter gh:ORG/{NAME} --no-input --checkout {release} {given}"
    shell(tmp_path, generate)
    project = tmp_path / "shop"
    git(project, "init", "--quiet")
    commit(project, "Generated")
    edit(project, BARE)

    context = f"--no-input --extra-context '{json.dumps(answers)}'"
    assert f"--checkout {BEFORE}" in link
    shell(project, f"{link} {context}", **{BEFORE: release})
    commit(project, "Linked")
    shell(project, f"{update} --skip-apply-ask --checkout HEAD")
    follow_changelog(project, shell)

    fresh = create("fresh", BARE)
    edit(fresh, BARE)
    assert differing(project, fresh) <= OF_THE_OWNER | OF_CRUFT
    assert "A later version" in (project / "README.md").read_text()


# cookiecutter replays the private variables, too: it must not do so if they have changed
WAYS = ["named", "replayed"]
if "Private variables have changed" in " ".join(STEPS.split()):
    WAYS.remove("replayed")

WITHOUT_TOOLS = [
    pytest.param(FULL | {"use_redis": False}, marks=pytest.mark.weekly),
    pytest.param(BARE, marks=pytest.mark.weekly),
    pytest.param(ROWS[0], marks=pytest.mark.weekly),  # two minutes
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", WITHOUT_TOOLS, ids=name_of)
def test_branch_of_generated_files_replaces_cruft(create, template, shell, tmp_path, options, way):
    branch, *before, replay, lock, add, commit_it, main, merge, finish, named = typed(
        "Without tools"
    )
    given = " ".join(f"{name}={answer}" for name, answer in options.items())
    assert "use_redis=false" in named
    named = named.replace("use_redis=false", given)
    release = template.before_core() if options == ROWS[0] else template.release(BEFORE)
    generate = f"cookiecutter gh:ORG/{NAME} --no-input --checkout {release}"
    shell(tmp_path, f"{generate} project_slug=shop {given}")
    project = tmp_path / "shop"
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "Generated")
    edit(project, options)
    secrets = (project / ".env").read_bytes()

    shell(project, branch, FIRST_COMMIT="HEAD~1")
    generate = (
        f"yes '' | {replay}" if way == "replayed" else named
    )  # the default for a new question
    for command in [*before, generate, lock, add, commit_it, main, f"{merge} || true"]:
        shell(project, command)
    steps = follow_changelog(project, shell)
    for step in steps if options["use_worker"] else []:  # they are for its former example
        shell(project, step)

    fresh = create("fresh", options)
    edit(fresh, options)
    assert (project / ".env").read_bytes() == secrets
    other = differing(project, fresh) - OF_THE_OWNER - OF_CRUFT
    if options["use_worker"]:  # its former example had a column, whose migration stays
        other = {path for path in other if "/migrations/" not in path}
    assert other == set()
    assert "A later version" in (project / "README.md").read_text()
    assert re.search(r"\d+ passed", shell(project, finish).stdout)


@pytest.mark.parametrize("first", [pytest.param(True, marks=pytest.mark.weekly), False])
def test_options_can_be_added_and_removed_later(create, shell, first):
    """The two runs together add and remove each option."""
    update, finish = typed("Add or remove an option")
    answers = dict(zip(OPTIONS, itertools.cycle([first, not first]), strict=False))
    answers["use_accounts"] = answers["use_postgres"]  # which they need
    before = {option: not answer for option, answer in answers.items()} | {"frontend": "htmx"}
    answers |= {"frontend": "react" if answers["use_tailwind"] else "none"}
    project = create("ours", before)
    edit(project, {"use_postgres": False})

    answer = {'{"use_redis": true}': json.dumps(answers)}
    shell(project, f"{update} --skip-apply-ask", **answer)
    shell(project, finish.removesuffix(" check"))  # other tests check such a project

    fresh = create("fresh", answers)
    edit(fresh, {"use_postgres": False})
    run("make", "lock", cwd=fresh)
    assert differing(project, fresh) <= OF_THE_OWNER | OF_CRUFT
    assert locked(project) == locked(fresh)
    assert set(dotenv_values(fresh / ".env")) <= set(dotenv_values(project / ".env"))


def test_release_is_found_in_the_history(template, shell):
    [command] = typed("What you can rely on")

    [found, *_] = shell(template.folder, command).stdout.split()

    assert template.release(BEFORE).startswith(found)


@pytest.mark.docker
@pytest.mark.faults
@pytest.mark.weekly
@pytest.mark.xdist_group("docker-untimed")
def test_stack_of_the_previous_release_keeps_its_data(engine, create, template, shell):
    project, port = create("ours", FULL, template.release(BEFORE)), 8244
    with (project / ".env").open("a") as settings:
        settings.write(f"COMPOSE_PROJECT_NAME={unique_name('update')}\nHTTP_PORT={port}\n")
    stack = Stack(project, FULL, port)
    free_containers(project)
    try:
        shell(project, "make deploy")
        assert stack.get("/notes", "POST", {"title": "Of the release before"}).status == 201

        shell(project, f"{typed('With cruft')[2]} --skip-apply-ask")
        shell(project, "make env lock deploy")

        assert "Of the release before" in stack.get("/notes").text
        assert stack.get("/notes", "POST", {"title": "Of this one"}).status == 201
    finally:
        free_containers(project)
