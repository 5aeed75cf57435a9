"""The files of the template: tags, documents and workflows."""

import json
import re
from difflib import ndiff

import pytest
import yaml
from conftest import TEMPLATE, check_workflows, files_of, run

SLUG = "{{cookiecutter.project_slug}}"
PYTHON = sorted((TEMPLATE / SLUG).rglob("*.py"))
README = (TEMPLATE / "README.md").read_text()
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
COPIED = QUESTIONS["_copy_without_render"]


def tags(path) -> int:
    """Return the number of template tags in a file."""
    return len(re.findall(r"\{%", path.read_text()))


def test_python_files_contain_few_tags():
    assert sum(tags(path) for path in PYTHON if path.name != "conftest.py") <= 68


def test_python_tests_contain_no_tags():
    assert [path.name for path in PYTHON if path.name.startswith("test_") and tags(path)] == []


USUAL = {path.name: path for path in (TEMPLATE / SLUG / SLUG / "templates").glob("*.html")}
REPLACED = [p for p in (TEMPLATE / SLUG).glob("assets/variants/*/*.html") if p.name in USUAL]


@pytest.mark.parametrize("path", REPLACED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_template_of_a_front_end_differs_only_where_it_has_to(path):
    """Templates are copied without rendering, so that some exist more than once."""
    lines, others = USUAL[path.name].read_text().splitlines(), path.read_text().splitlines()
    changed = [line for line in ndiff(lines, others) if line[0] in "+-"]

    expected = "built/app|style.css" if path.name == "base.html" else "section|example.html"
    assert [line for line in changed if not re.search(expected, line)] == []
    assert changed


def test_tag_stands_alone_on_its_line():
    files = [path for path in (TEMPLATE / SLUG).rglob("*") if path.is_file()]

    untidy = [
        f"{path.name}: {line}"
        for path in files
        if not any(path.relative_to(TEMPLATE / SLUG).match(pattern) for pattern in COPIED)
        for line in path.read_text().splitlines()
        if "{%-" in line
        or "-%}" in line
        or ("{%" in line and not re.fullmatch(r"\s*\{% [^%]+ %\}", line))
    ]

    assert untidy == []


def test_template_contains_only_tracked_files():
    tracked = run("git", "ls-files", "-z", SLUG, cwd=TEMPLATE).stdout.split("\0")

    present = {f"{SLUG}/{file}" for file in files_of(TEMPLATE / SLUG) if "__pycache__" not in file}

    assert present == {file for file in tracked if file}


@pytest.mark.parametrize("document", ["README.md", "docs/options.md"])
def test_every_question_is_in_the_document(document):
    rows = re.findall(r"^\| (`.*?) \|", (TEMPLATE / document).read_text(), re.MULTILINE)

    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert {name for name in QUESTIONS if not name.startswith("_")} <= named


def test_tree_in_the_readme_matches_a_project(bake):
    block = README.split("```text\nmy_service/\n")[1].split("```")[0]
    folders, paths = [], set()
    for line in block.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        folders = [*folders[: len(indent) // 4 - 1], name]
        paths.add("".join(folders))

    project = bake()

    missing = [path for path in paths if not (project / path).exists()]
    shown = {path.split("/")[0] for path in paths}
    assert missing == []
    assert shown == {path.name for path in project.iterdir()}


def test_workflow_of_a_project_uses_the_same_actions():
    """Dependabot cannot update that of a project, because it contains tags."""
    mine, theirs = (
        set(re.findall(r"uses: (.+)", (folder / ".github/workflows/ci.yml").read_text()))
        for folder in (TEMPLATE, TEMPLATE / SLUG)
    )

    assert theirs
    assert theirs <= mine


def test_own_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((TEMPLATE / ".github/workflows/ci.yml").read_text())

    commands = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    assert commands == [".ci/run", "bash .ci/elsewhere"]
    check_workflows(TEMPLATE)
