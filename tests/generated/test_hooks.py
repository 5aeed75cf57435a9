"""The functions of the hooks, which are rendered as cookiecutter renders them."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from projects import OPTIONS, TEMPLATE, locked, run

ANSWERS = {
    "project_slug": "shop",
    "__slug_as_answered": "shop",
    "project_name": "Shop",
    "description": "Sells.",
    "author_name": "Me",
    "author_email": "me@example.com",
    "use_postgres": False,
    "use_accounts": False,
    "use_redis": True,
    "use_nginx": False,
    "frontend": "none",
    "use_tailwind": False,
    "use_worker": False,
    "use_metrics": False,
    "use_openapi": False,
    "use_tls": False,
    "use_kubernetes": False,
    "__published_port": "8000",
}


@pytest.fixture
def hook(tmp_path):
    """Return a function that loads a hook with answers, without running it."""

    def load(name, **answers):
        source = (TEMPLATE / f"hooks/{name}.py").read_text()
        rendered = source.replace("{{ cookiecutter | tojson }}", json.dumps(ANSWERS | answers))
        assert rendered != source
        file = tmp_path / f"{name}.py"
        file.write_text(rendered)
        return runpy.run_path(str(file))

    return load


@pytest.fixture
def post(hook):
    return hook("post_gen_project")


BAD_ANSWERS = {
    "has to start with a lower-case letter": {
        "__slug_as_answered": [
            "", "9lives", "_private", "MyService", "my-service", "my.service", "my service",
            "my/service", "../service", "my\\service", "it's", 'my"service', "dienst_ü", "service_",
            "my___service", "сервис",
        ],
    },
    "at most 40 are allowed": {"__slug_as_answered": ["a" * 41]},
    "is a keyword of Python": {"__slug_as_answered": ["class", "match"]},
    "is the name of another module": {
        "__slug_as_answered": (
            "json compression test config tests flask redis sqlalchemy gunicorn nginx".split()
        ),
    },
    "is reserved in PostgreSQL or YAML": {"__slug_as_answered": ["public", "pg_catalog", "null"]},
    "is reserved on Windows": {"__slug_as_answered": ["con", "lpt1"]},
    "is not an e-mail address such as": {
        "author_email": [
            "", "you", "you@", "@example.com", "you@example", "a b@example.com", "a@b@c.de",
            'a"@b.de', "a@b..de",
        ],
    },
    "is empty": {"project_name": ["", " "]},
    "needs use_postgres": {"use_accounts": [True]},
    "contains a line break": {
        name: ["two\nlines", "carriage\rreturn", "tab\tulator", "bell\a", "line\u2028break"]
        for name in ("project_name", "description", "author_name")
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (name, value, reason)
        for reason, questions in BAD_ANSWERS.items()
        for name, values in questions.items()
        for value in values
    ],
)
def test_invalid_answer_is_reported_in_one_sentence(hook, name, value, reason):
    problems = hook("pre_gen_project")["problems"]

    [problem] = problems(ANSWERS | {name: value})

    assert problems(ANSWERS) == []
    assert reason in problem
    assert problem.endswith(".")
    assert "\n" not in problem


MODULES = "from importlib.metadata import packages_distributions as p; print(*p(), sep='\\n')"


def test_names_of_modules_and_directories_are_rejected(hook, bake):
    check = hook("pre_gen_project")["check_slug"]
    project = bake(project_slug="shop", **dict.fromkeys(OPTIONS, True))
    folders = {path.stem for path in project.iterdir() if path.is_dir() or path.suffix == ".py"}
    folders |= {path.stem for path in project.glob("bin/*.py")}
    modules = run("uv", "run", "--quiet", "python", "-c", MODULES, cwd=project).stdout.split()
    libraries = {name.replace("-", "_").lower() for name in locked(project)}

    assert min(len(libraries), len(modules)) > 40
    taken = {name for name in libraries | {*folders, *modules} if re.match("[a-z]", name)}
    assert {name for name in taken if check(name) is None} == {"shop"}


def test_paths_of_options_exist_in_the_template(hook):
    slug = "{{cookiecutter.project_slug}}"
    owned = hook("post_gen_project", project_slug=slug)["OWNED"]

    missing = [
        path for paths in owned.values() for path in paths if not (TEMPLATE / slug / path).is_file()
    ]

    assert missing == []


def test_full_disk_is_reported_before_anything_is_written(hook, monkeypatch):
    pre = hook("pre_gen_project")
    for total, free, expected in ((100, 1_999_999, 1), (100, 2_000_000, 0), (0, 0, 0)):
        usage = SimpleNamespace(total=total, free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        assert len(pre["problems"](ANSWERS)) == expected


def test_file_that_cannot_be_written_is_reported_in_one_sentence(hook, tmp_path):
    """``bin/env`` is missing here."""
    hook("post_gen_project")
    (tmp_path / "assets/variants").mkdir(parents=True)
    (tmp_path / "assets/js").mkdir()
    for folder in "htmx hotwire alpine vue react jquery".split():
        (tmp_path / "assets/variants" / folder).mkdir()

    done = run(sys.executable, tmp_path / "post_gen_project.py", cwd=tmp_path, check=False)

    assert done.returncode == 1
    assert done.stdout == (
        f"shop is not complete: No such file or directory: {tmp_path}/bin/env. "
        "Correct this, and try again.\n"
    )


def test_message_has_at_most_eight_lines(post):
    both = {"uv.lock": "uv", "assets/package-lock.json": "npm"}
    for missing in ({}, {"uv.lock": "uv"}, both):
        message = post["next_steps"](ANSWERS, missing)
        assert len(message.splitlines()) <= 8
        assert message.count("make lock") == len(missing)
        for file, program in missing.items():
            assert f"{file} is missing (it needs {program} " in message


@pytest.mark.parametrize(
    "outcome",
    [
        subprocess.CompletedProcess([], 2),
        subprocess.CompletedProcess([], 0),  # but uv.lock is in the directory of a workspace
        subprocess.TimeoutExpired("uv", 60),
        PermissionError("uv"),
    ],
)
def test_failed_lock_is_not_an_error(post, monkeypatch, tmp_path, outcome):
    def run(*_, **__):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assets").mkdir()

    missing = post["lock"](ANSWERS | {"frontend": "vue"})

    assert missing == {"uv.lock": "uv", "assets/package-lock.json": "npm"}
