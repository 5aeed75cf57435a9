"""A generated project follows the template: to a later version, and to other answers."""

import json
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import COMBINATIONS, OPTIONS, TEMPLATE, files_of, name_of, run
from dotenv import dotenv_values
from test_files import locked

IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in {"NAME": "Owner", "EMAIL": "owner@example.com"}.items()
}
FULL, BARE = COMBINATIONS[0], COMBINATIONS[-1]
OF_THE_OWNER = {".env", "uv.lock"}  # cruft leaves them alone
OF_CRUFT = {".cruft.json"}
UPDATE = ["cruft", "update", "--skip-apply-ask", "--refresh-private-variables"]


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
    theirs = tomllib.loads((TEMPLATE / "{{cookiecutter.project_slug}}/pyproject.toml").read_text())

    assert mine["project"]["version"] == newest_release()
    assert theirs["tool"]["cookiecutter-flask-docker"]["version"] == newest_release()


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template") / "cookiecutter-flask-docker"
    git(TEMPLATE, "clone", "--quiet", TEMPLATE, folder)
    for path in git(TEMPLATE, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split(
        "\0"
    ):
        if path and (TEMPLATE / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / path, folder / path)
    for path in git(TEMPLATE, "ls-files", "-z", "--deleted").split("\0"):
        (folder / path).unlink() if path else None
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "What is not committed yet")
    heading = f"## {newest_release()}"
    releases = git(folder, "log", "--reverse", "--format=%H", f"-S{heading}", "--", "CHANGELOG.md")
    return Template(folder, releases.split()[0])


@pytest.fixture
def create(template, tmp_path):
    """Generate with cruft, and commit, as its owner does."""

    def cruft(folder, options, version="HEAD"):
        context = json.dumps({"project_slug": "shop", **options})
        where = ["--output-dir", tmp_path / folder, "--checkout", version]
        run(
            "cruft",
            "create",
            template.folder,
            "--no-input",
            "--extra-context",
            context,
            *where,
            cwd=tmp_path,
        )
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
    run("uv", "add", "--quiet", "--no-sync", "itsdangerous", cwd=project)
    if options["use_postgres"]:
        database = project / "shop/database"
        column = "    author: Mapped[str | None] = mapped_column(String(100))\n"
        change(
            database / "models.py",
            "    body: Mapped[str] = mapped_column(Text)\n",
            f"    body: Mapped[str] = mapped_column(Text)\n{column}",
        )
        (database / "migrations/versions/0002_author.py").write_text(MIGRATION)
    edited = git(project, "status", "--porcelain", "--untracked-files=all")
    commit(project, "Ours")
    return {line[3:] for line in edited.splitlines()}


def differing(first, second):
    """The paths of files that are not in both, or not the same."""
    return {
        path
        for path in files_of(first) | files_of(second)
        if not path.startswith((".git/", ".venv/"))
        and not (
            (first / path).is_file()
            and (second / path).is_file()
            and (first / path).read_bytes() == (second / path).read_bytes()
        )
    }


def left_alone(project):
    return {name: (project / name).read_bytes() for name in OF_THE_OWNER}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(c, id=name_of(c), marks=pytest.mark.xdist_group(name_of(c)))
        for c in COMBINATIONS
    ],
)
def test_release_with_the_owners_edits_becomes_the_present_version(create, template, options):
    project = create("ours", options, template.release)
    edited = edit(project, options)
    before = left_alone(project)

    run(*UPDATE, cwd=project, **IDENTITY)

    assert left_alone(project) == before
    assert git(project, "diff", "--diff-filter=U", "--name-only") == ""
    assert differing(project, create("fresh", options)) <= edited | OF_THE_OWNER | OF_CRUFT
    assert "hello.bp" in (project / "shop/__init__.py").read_text()
    assert '"WEB_THREADS", 4' in (project / "config/settings.py").read_text()
    done = run("make", "lock", "check", cwd=project)
    assert re.search(r"\d+ passed", done.stdout)


def test_project_that_cookiecutter_made_can_be_linked(create, template, tmp_path):
    answers = {"project_slug": "shop"} | BARE
    typed = [f"{name}={value}" for name, value in answers.items()]
    options = ["--no-input", "--output-dir", tmp_path, "--checkout", template.release]
    run("cookiecutter", template.folder, *options, *typed, cwd=tmp_path)
    project = tmp_path / "shop"
    git(project, "init", "--quiet")
    commit(project, "Generated")
    edited = edit(project, BARE)

    context = ["--extra-context", json.dumps(answers), "--no-input"]
    run("cruft", "link", template.folder, "--checkout", template.release, *context, cwd=project)
    commit(project, "Linked")
    run(*UPDATE, "--checkout", "HEAD", cwd=project, **IDENTITY)

    assert differing(project, create("fresh", BARE)) <= edited | OF_THE_OWNER | OF_CRUFT


def test_later_version_is_merged_into_lines_next_to_the_owners(create, template):
    project = create("ours", FULL)
    edited = edit(project, FULL)
    slug = template.folder / "{{cookiecutter.project_slug}}"
    package = slug / "{{cookiecutter.project_slug}}"
    change(package / "__init__.py", "    toolbar,\n", "    theirs,\n    toolbar,\n")
    change(slug / "config/settings.py", "hours=12", "hours=8")
    (package / "theirs.py").write_text('"""New."""\n')
    (package / "toolbar.py").unlink()
    commit(template.folder, "A later version")

    run(*UPDATE, cwd=project, **IDENTITY)
    fresh = create("fresh", FULL)
    git(template.folder, "reset", "--quiet", "--hard", "HEAD~1")

    assert differing(project, fresh) <= edited | OF_THE_OWNER | OF_CRUFT
    assert not (project / "shop/toolbar.py").exists()
    assert {"    hello,", "    theirs,"} < set(
        (project / "shop/__init__.py").read_text().splitlines()
    )
    settings = (project / "config/settings.py").read_text()
    assert "hours=8" in settings
    assert '"WEB_THREADS", 4' in settings


def test_replay_and_a_merge_do_without_cruft(create, template, tmp_path):
    """As docs/upgrading.md says."""
    home = {"HOME": str(tmp_path), **IDENTITY}
    answers = [f"{name}={value}" for name, value in FULL.items()]
    where = ["--output-dir", tmp_path]
    cookiecutter = ["cookiecutter", template.folder, *where]
    run(
        *cookiecutter,
        "--no-input",
        "--checkout",
        template.release,
        "project_slug=shop",
        *answers,
        cwd=tmp_path,
        **home,
    )
    project = tmp_path / "shop"
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "Generated")
    git(project, "branch", "template")
    edited = edit(project, FULL)
    secrets = (project / ".env").read_bytes()

    git(project, "checkout", "--quiet", "template")
    git(project, "rm", "-r", "--quiet", ".")
    run(*cookiecutter, "--replay", "--overwrite-if-exists", cwd=tmp_path, **home)
    git(project, "checkout", "HEAD", "uv.lock")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "The template, as it is now")
    git(project, "checkout", "--quiet", "main")
    git(project, "merge", "--quiet", "--no-edit", "template")

    assert (project / ".env").read_bytes() == secrets
    assert differing(project, create("fresh", FULL)) <= edited | OF_THE_OWNER | OF_CRUFT


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("wanted", [True, False], ids=["added", "removed"])
def test_option_is_added_or_removed_later(create, option, wanted):
    project = create("ours", FULL | {option: not wanted})
    edited = edit(project, {"use_postgres": False})
    variables = ["--variables-to-update", json.dumps({option: wanted})]

    run(*UPDATE, *variables, cwd=project, **IDENTITY)
    run("make", "env", "lock", cwd=project)

    fresh = create("fresh", FULL | {option: wanted})
    assert differing(project, fresh) <= edited | OF_THE_OWNER | OF_CRUFT
    assert locked(project) == locked(fresh)
    assert set(dotenv_values(fresh / ".env")) <= set(dotenv_values(project / ".env"))
    assert "hello.bp" in (project / "shop/__init__.py").read_text()
