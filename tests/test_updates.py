"""A generated project follows the template: to a later version, and to other answers."""

import json
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import BARE, EACH, FULL, OPTIONS, TEMPLATE, commands, config_in, run
from dotenv import dotenv_values
from test_files import locked

IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in {"NAME": "Owner", "EMAIL": "owner@example.com"}.items()
}
OF_THE_OWNER = {".env", "uv.lock"}  # updates leave them alone
OF_CRUFT = {".cruft.json"}
NAME = "cookiecutter-flask-docker"


def typed(heading):
    """The commands of a section of docs/upgrading.md, which the tests below run."""
    return commands((TEMPLATE / "docs/upgrading.md").read_text(), heading)


def git(folder, *arguments):
    return run("git", *arguments, cwd=folder, **IDENTITY).stdout


def commit(folder, message):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", message)


@dataclass
class Template:
    """A clone of the template, with what is not committed yet as its last commit."""

    folder: Path
    release: str  # the commit of the newest release


def newest_release():
    """The version that stands first in the changelog."""
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (TEMPLATE / "CHANGELOG.md").read_text(), re.M)
    return versions[0]


def test_version_is_the_same_everywhere():
    mine = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())
    theirs = (TEMPLATE / "{{cookiecutter.project_slug}}/pyproject.toml").read_text()
    told = re.search(r'^\[tool.cookiecutter-flask-docker\].*\nversion = "(.+)"$', theirs, re.M)

    assert mine["project"]["version"] == newest_release()
    assert told[1] == newest_release()


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Its last commit holds what is not committed yet, and a line that makes it a later version."""
    folder = tmp_path_factory.mktemp("git") / NAME  # cookiecutter wants git in an address
    git(TEMPLATE, "clone", "--quiet", TEMPLATE, folder)
    git(folder, "rm", "-r", "--quiet", ".")
    known = git(TEMPLATE, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in filter(None, known.split("\0")):
        if (TEMPLATE / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / path, folder / path)
    with (folder / "{{cookiecutter.project_slug}}/README.md").open("a") as readme:
        readme.write("\nA later version says so.\n")
    commit(folder, "A later version")
    heading = f"## {newest_release()}"
    releases = git(folder, "log", "--reverse", "--format=%H", f"-S{heading}", "--", "CHANGELOG.md")
    return Template(folder, releases.split()[0])


@pytest.fixture
def shell(template, tmp_path):
    """Run a command as it is typed, with the template instead of its address."""
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
    """Generate with cruft, and commit, as its owner does."""
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


def change(file, before, after):
    text = file.read_text()
    assert before in text, (file, before)
    file.write_text(text.replace(before, after, 1))


HELLO = '''"""Greetings."""

from flask import Blueprint

bp = Blueprint("hello", __name__)


@bp.get("/hello")
def hello() -> str:
    """Greet."""
    return "Hello"
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
    """Take the change back."""
    op.drop_column("notes", "author")
'''


def edit(project, options):
    """What an owner does: a blueprint, a setting, a dependency, and a migration."""
    (project / "shop/hello.py").write_text(HELLO)
    factory = project / "shop/__init__.py"
    change(factory, "    health,\n", "    health,\n    hello,\n")
    change(factory, "    return app", "    app.register_blueprint(hello.bp)\n    return app")
    change(project / "config/settings.py", '"WEB_THREADS", 8', '"WEB_THREADS", 4')
    change(project / "pyproject.toml", ',<5",\n]', ',<5",\n    "itsdangerous>=2.2",\n]')
    if options["use_postgres"]:
        database = project / "shop/database"
        body = "    body: Mapped[str] = mapped_column(Text)\n"
        author = "    author: Mapped[str | None] = mapped_column(String(100))\n"
        change(database / "models.py", body, body + author)
        (database / "migrations/versions/0002_author.py").write_text(MIGRATION)
    commit(project, "Ours")


def files_for_git(project):
    listed = git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return {
        path: (project / path).read_bytes()
        for path in listed.split("\0")
        if path and (project / path).is_file()
    }


def differing(first, second):
    """The paths of files that are not in both, or not the same."""
    one, other = files_for_git(first), files_for_git(second)
    return {path for path in one | other if one.get(path) != other.get(path)}


def left_alone(project):
    return {name: (project / name).read_bytes() for name in OF_THE_OWNER}


@pytest.mark.parametrize("combination", EACH)
def test_release_with_the_owners_edits_becomes_the_present_version(
    create, template, shell, combination
):
    _, _, update, finish = typed("With cruft")
    project = create("ours", combination, template.release)
    edit(project, combination)
    before = left_alone(project)

    shell(project, f"{update} --skip-apply-ask")

    fresh = create("fresh", combination)
    edit(fresh, combination)
    assert left_alone(project) == before
    assert differing(project, fresh) <= OF_THE_OWNER | OF_CRUFT
    assert "A later version" in (project / "README.md").read_text()
    finish = finish if combination == FULL else finish.replace("check", "test")
    assert re.search(r"\d+ passed", shell(project, finish).stdout)


def test_project_that_cookiecutter_made_can_be_linked(create, template, shell, tmp_path):
    _, link, update, _ = typed("With cruft")
    answers = {"project_slug": "shop"} | BARE
    given = " ".join(f"{name}={value}" for name, value in answers.items())
    generate = f"cookiecutter gh:ORG/{NAME} --no-input --checkout {template.release} {given}"
    shell(tmp_path, generate)
    project = tmp_path / "shop"
    git(project, "init", "--quiet")
    commit(project, "Generated")
    edit(project, BARE)

    context = f"--no-input --extra-context '{json.dumps(answers)}'"
    shell(project, f"{link} {context}", **{"0.1.0": template.release})
    commit(project, "Linked")
    shell(project, f"{update} --skip-apply-ask --checkout HEAD")

    fresh = create("fresh", BARE)
    edit(fresh, BARE)
    assert differing(project, fresh) <= OF_THE_OWNER | OF_CRUFT
    assert "A later version" in (project / "README.md").read_text()


def test_lines_next_to_the_owners_are_merged(create, template, shell):
    project = create("ours", FULL)
    edit(project, FULL)
    before = git(template.folder, "rev-parse", "HEAD").strip()
    slug = template.folder / "{{cookiecutter.project_slug}}"
    package = slug / "{{cookiecutter.project_slug}}"
    try:
        change(package / "__init__.py", "    toolbar,\n", "    theirs,\n    toolbar,\n")
        change(slug / "config/settings.py", "hours=12", "hours=8")
        (package / "theirs.py").write_text('"""New."""\n')
        (package / "toolbar.py").unlink()
        commit(template.folder, "The version after that")
        shell(project, f"{typed('With cruft')[2]} --skip-apply-ask")
        fresh = create("fresh", FULL)
    finally:
        git(template.folder, "reset", "--quiet", "--hard", before)

    edit(fresh, FULL)
    assert differing(project, fresh) <= OF_THE_OWNER | OF_CRUFT
    assert "theirs" in (project / "shop/__init__.py").read_text()


@pytest.mark.parametrize("replayed", [True, False], ids=["replayed", "named"])
def test_branch_of_generated_files_does_without_cruft(create, template, shell, tmp_path, replayed):
    branch, *before, replay, lock, add, commit_it, main, merge, finish, named = typed(
        "Without tools"
    )
    options = FULL | {"use_redis": False}
    generate = f"cookiecutter gh:ORG/{NAME} --no-input --checkout {template.release}"
    shell(tmp_path, f"{generate} project_slug=shop use_redis=false")
    project = tmp_path / "shop"
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "Generated")
    edit(project, options)
    secrets = (project / ".env").read_bytes()

    shell(project, branch, FIRST_COMMIT="HEAD~1")
    for command in [*before, replay if replayed else named, lock, add, commit_it, main, merge]:
        shell(project, command)

    fresh = create("fresh", options)
    edit(fresh, options)
    assert (project / ".env").read_bytes() == secrets
    assert differing(project, fresh) <= OF_THE_OWNER | OF_CRUFT
    assert "A later version" in (project / "README.md").read_text()
    shell(project, finish.removesuffix(" check"))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("wanted", [True, False], ids=["added", "removed"])
def test_option_is_added_or_removed_later(create, shell, option, wanted):
    update, finish = typed("Add or remove PostgreSQL, Redis or nginx")
    project = create("ours", FULL | {option: not wanted})
    edit(project, {"use_postgres": False})

    answer = {'{"use_redis": true}': json.dumps({option: wanted})}
    shell(project, f"{update} --skip-apply-ask", **answer)
    # What equals a fresh project needs no check of its own; the largest change gets one.
    largest = wanted and option == "use_postgres"
    shell(project, finish if largest else finish.removesuffix(" check"))

    fresh = create("fresh", FULL | {option: wanted})
    edit(fresh, {"use_postgres": False})
    run("make", "lock", cwd=fresh)
    assert differing(project, fresh) <= OF_THE_OWNER | OF_CRUFT
    assert locked(project) == locked(fresh)
    assert set(dotenv_values(fresh / ".env")) <= set(dotenv_values(project / ".env"))


def test_release_is_found_in_the_history(template, shell):
    [command] = typed("What you can rely on")

    found = shell(template.folder, command, **{"0.1.0": newest_release()}).stdout.split()
    assert template.release.startswith(found[0])
