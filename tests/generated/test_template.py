"""The files of the template: tags, documents and workflows."""

import json
import re
from fnmatch import fnmatch

import pytest
import yaml
from projects import TEMPLATE, check_workflows, files_of, run

SLUG = "{{cookiecutter.project_slug}}"
PYTHON = sorted((TEMPLATE / SLUG).rglob("*.py"))
README = (TEMPLATE / "README.md").read_text()
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
COPIED = QUESTIONS["_copy_without_render"]


def test_python_tests_contain_no_tags():
    tests = [path for path in PYTHON if path.name.startswith("test_")]
    assert [path.name for path in tests if "{%" in path.read_text()] == []


RAW = re.compile(r"\{% raw %\}.*?(?=^\{% endraw %\}$)", re.DOTALL | re.MULTILINE)


def rendered():
    """Return the source of each file that is rendered, without what belongs to Flask."""
    files = [path for path in (TEMPLATE / SLUG).rglob("*") if path.is_file()]
    for path in files:
        if not any(fnmatch(str(path.relative_to(TEMPLATE / SLUG)), pattern) for pattern in COPIED):
            yield path, RAW.sub("{% raw %}\n", path.read_text())


def test_tag_stands_alone_on_its_line():
    """A line break after ``{% raw %}`` would be an empty line, so that this tag is an exception."""
    untidy = [
        f"{path.name}: {line}"
        for path, text in rendered()
        for line in text.splitlines()
        if "{%-" in line
        or "-%}" in line
        or ("{%" in line and not re.fullmatch(r"\s*\{% [^%]+ %\}", line))
    ]

    assert untidy == []


def test_expression_contains_no_line_break():
    broken = [
        f"{path.name}: {expression}"
        for path, text in rendered()
        for expression in re.findall(r"\{\{.*?\}\}", text, re.DOTALL)
        if "\n" in expression or r"\n" in expression
    ]

    assert broken == []


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
    faults = "REQUIRE_DOCKER=1 DEPLOYMENTS=4 make test-faults"
    assert commands == [".ci/run", faults, "bash .ci/elsewhere"]
    assert workflow["jobs"]["faults"]["if"] == "github.event_name == 'schedule'"
    check_workflows(TEMPLATE)


def test_issue_forms_fit_their_schemas():
    folder = TEMPLATE / ".github/ISSUE_TEMPLATE"
    forms = sorted(path.name for path in folder.glob("*.yml") if path.name != "config.yml")

    run("check-jsonschema", "--builtin-schema=vendor.github-issue-forms", *forms, cwd=folder)
    config = ["--builtin-schema=vendor.github-issue-config", "config.yml"]
    run("check-jsonschema", *config, cwd=folder)
    assert forms == ["bug.yml", "wish.yml"]
