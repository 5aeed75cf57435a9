"""The template's own house: tags, lengths of functions, what its documents say."""

import ast
import json
import re
from statistics import median

import pytest
import yaml
from conftest import TEMPLATE, each_combination, files_of, run

SLUG = "{{cookiecutter.project_slug}}"
PYTHON = sorted((TEMPLATE / SLUG).rglob("*.py"))
README = (TEMPLATE / "README.md").read_text()


def tags(path) -> int:
    """How many template tags stand in a file."""
    return len(re.findall(r"\{%", path.read_text()))


def lengths(source: str) -> dict[str, int]:
    """The lines of each function without its docstring, by name."""
    return {
        node.name: node.end_lineno
        - (node.body[0].end_lineno if ast.get_docstring(node) else node.lineno)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }


def test_python_files_hold_few_tags():
    assert sum(map(tags, PYTHON)) <= 12


def test_python_tests_hold_no_tags():
    assert [path.name for path in PYTHON if "tests" in path.parts and tags(path)] == []


def test_tag_stands_alone_on_its_line():
    copied = (".html", ".mako", ".yml")
    files = [path for path in (TEMPLATE / SLUG).rglob("*") if path.is_file()]

    untidy = [
        f"{path.name}: {line}"
        for path in files
        if path.suffix not in copied
        for line in path.read_text().splitlines()
        if "{%-" in line
        or "-%}" in line
        or ("{%" in line and not re.fullmatch(r"\s*\{% [^%]+ %\}", line))
    ]

    assert untidy == []


@each_combination()
def test_functions_are_short(project):
    sizes = [
        size
        for path in project.rglob("*.py")
        if not {"tests", ".venv"} & set(path.relative_to(project).parts)
        for size in lengths(path.read_text()).values()
    ]

    assert median(sizes) <= 6
    assert max(sizes) <= 25


def test_nothing_stands_in_the_template_that_git_does_not_know():
    tracked = run("git", "ls-files", "-z", SLUG, cwd=TEMPLATE).stdout.split("\0")

    present = {f"{SLUG}/{file}" for file in files_of(TEMPLATE / SLUG) if "__pycache__" not in file}

    assert present == {file for file in tracked if file}


@pytest.mark.parametrize("document", ["README.md", "docs/options.md"])
def test_every_question_is_in_the_document(document):
    questions = json.loads((TEMPLATE / "cookiecutter.json").read_text())

    rows = re.findall(r"^\| (`.*?) \|", (TEMPLATE / document).read_text(), re.MULTILINE)

    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert {name for name in questions if not name.startswith("_")} <= named


def test_tree_in_the_readme_is_that_of_a_project(bake):
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


def test_own_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((TEMPLATE / ".github/workflows/ci.yml").read_text())

    commands = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    assert commands == [".ci/run", "bash .ci/elsewhere"]
    run("zizmor", "--offline", "--persona=pedantic", "--quiet", ".github", cwd=TEMPLATE)
    run(
        "check-jsonschema",
        "--builtin-schema=vendor.github-workflows",
        ".github/workflows/ci.yml",
        cwd=TEMPLATE,
    )
    run(
        "check-jsonschema",
        "--builtin-schema=vendor.dependabot",
        ".github/dependabot.yml",
        cwd=TEMPLATE,
    )
