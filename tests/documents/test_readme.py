"""The documents of the template itself: its presets, the placeholder ORG, and its lines.

``make check`` is not run here: test_checks.py runs it on each pair of answers, and on everything.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest
from pairwise import questions
from projects import BARE, OWNED, ROWS, SERVICES, TEMPLATE, commands, files_of, is_declined, run

ADDRESS = "gh:ORG/cookiecutter-flask-docker"
PRESETS = {
    "stock_api": 'cookiecutter gh:ORG/cookiecutter-flask-docker --no-input project_name="Stock API" use_openapi=true',
    "corner_shop": 'cookiecutter gh:ORG/cookiecutter-flask-docker --no-input project_name="Corner Shop" frontend=htmx use_tailwind=true',
    "big_shop": 'cookiecutter gh:ORG/cookiecutter-flask-docker --no-input project_name="Big Shop" frontend=htmx use_tailwind=true use_worker=true use_metrics=true use_openapi=true use_accounts=true use_tls=true use_kubernetes=true',
}
DEFAULTS = BARE | dict.fromkeys(SERVICES, True)
DOCUMENTS = [*TEMPLATE.glob("*.md"), *TEMPLATE.glob("docs/**/*.md")]
COLUMNS = 100


def answers(command):
    """Return the answers that a command gives, and the defaults of the others."""
    given = dict(word.split("=", 1) for word in shlex.split(command) if "=" in word)
    del given["project_name"]
    return DEFAULTS | {name: answer == "true" or answer for name, answer in given.items()}


def owned(slug, counts=lambda owner: True):
    """Return the files of these options, in a project whose package is ``slug``."""
    paths = {str(path) for owner in OWNED for path in OWNED[owner] if counts(owner)}
    return {re.sub("^my_service/", f"{slug}/", path) for path in paths}


def test_readme_has_three_presets():
    typed = commands((TEMPLATE / "README.md").read_text())

    assert [command for command in typed if "--no-input" in command] == [*PRESETS.values()]


@pytest.mark.parametrize(("slug", "command"), PRESETS.items(), ids=PRESETS)
def test_preset_generates_what_it_names(tmp_path, slug, command):
    """Without uv and npm on the path, a generation takes less than a second."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "cookiecutter").symlink_to(Path(sys.executable).with_name("cookiecutter"))
    local = command.replace(ADDRESS, shlex.quote(str(TEMPLATE)))

    run("/bin/sh", "-c", local, cwd=tmp_path, PATH=str(programs))

    chosen = answers(command)
    declined = owned(slug, lambda owner: is_declined(owner, chosen))
    assert files_of(tmp_path / slug) & owned(slug) == owned(slug) - declined


def test_preset_with_everything_declines_nothing():
    chosen = answers(PRESETS["big_shop"])

    assert {name for name, answer in chosen.items() if answer in (False, "none")} == set()
    assert questions().keys() - {"python_version"} == chosen.keys()
    assert chosen.items() <= ROWS[0].items()  # so that test_checks.py runs `make check` on it


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_reader_is_told_to_replace_org_before_the_first_command(document):
    before, org, _ = document.read_text().partition(ADDRESS.removeprefix("gh:"))

    warning = "**`ORG` is not a real name: replace it with the owner of"
    assert not org or warning in " ".join(before.split())


def prose(document):
    """Return the lines of a document without commands, code, tables and pictures."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", document.read_text())
    return [line for line in text.splitlines() if not line.lstrip().startswith(("|", "!["))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_lines_have_at_most_100_columns(document):
    long = [line for line in prose(document) if len(line) > COLUMNS]

    assert [line for line in long if not re.fullmatch(r"\s*\S*https://\S+", line)] == []
