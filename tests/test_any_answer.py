"""Any answers are refused with a sentence each, or become a project that says what was answered."""

import ast
import json
import os
import re
import shlex
import string
import tempfile
import tomllib
from functools import lru_cache
from pathlib import Path
from unittest import mock

import pytest
import yaml
from conftest import BARE, COMBINATIONS, FULL, OPTIONS, TEMPLATE, constants, name_of, run
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from dotenv import dotenv_values
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("EXAMPLES", 320))  # of all combinations together
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
METACHARACTERS = "'\"\\`$#%&|<>{}[]()!?*~:;,=@/-+^. "
FRAGMENTS = [
    "{{ cookiecutter }}", "{% raw %}", "{% endraw %}", "{#", "#}", "{{", "}}", "${HOME}", "$(id)",
    "\'\'\'", '"""', "\\N{BULLET}", "\\u0022", "%(name)s", "%s", "<!--", "-->", "]]>", "</title>",
    "<script>", "&amp;", "---", "? ", ": ", " #", "- ", "!!python/name:os.system", "[tool.x]",
    "\ufeff", "\u202e", "🚀", "e\u0301", "ß", "日本語", "\xa0", "\\",
]  # fmt: skip
LINES = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=80),
    st.text(METACHARACTERS + string.ascii_letters, min_size=1),
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=8).map("".join),
    st.builds(lambda text: text * 500, st.sampled_from(FRAGMENTS)),
)
BROKEN = st.sampled_from(["", " ", "\n", "\r", "\0", "\t", "\x1b[31m", "\u2028", "\x85", "\ud800"])
ANYTHING = st.one_of(st.text(st.characters()), st.builds("a{}b".format, BROKEN), BROKEN)
SLUGS = st.sampled_from(["shop", "a", "x" * 40, "shop_2", "a__b", "user", "on"])
BAD_SLUGS = st.sampled_from(["", "..", "a/b", "con", "json", "class", "Shop", "shop\n", "x" * 41])
NAMES = st.text(string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~ü", min_size=1)
ADDRESSES = st.builds("{}@{}.example".format, NAMES, NAMES)


def answers(texts, slugs, addresses):
    return st.fixed_dictionaries(
        {
            "project_name": texts,
            "project_slug": slugs,
            "description": texts,
            "author_name": texts,
            "author_email": addresses,
            "license": st.sampled_from(QUESTIONS["license"]),
            "python_version": st.sampled_from(QUESTIONS["python_version"]),
        }
    )


GOOD = answers(LINES.filter(str.strip), SLUGS, ADDRESSES)
BAD = answers(LINES | ANYTHING, BAD_SLUGS, ADDRESSES | ANYTHING)
EITHER = answers(LINES | ANYTHING, SLUGS | LINES, ADDRESSES | ANYTHING)
KINDS = st.one_of(
    st.tuples(st.just(kind), strategy)
    for kind, strategy in {"good": GOOD, "bad": BAD, "either": EITHER}.items()
)


def generate(answers, folder, capfd):
    """Generate as somebody does who types ``answers`` at the prompts: the project, or what it says."""

    def typed(name, *_, **__):
        return answers[name]

    prompts = {f"read_user_{kind}": typed for kind in ("variable", "yes_no", "choice")}
    capfd.readouterr()
    with mock.patch.multiple("cookiecutter.prompt", **prompts):
        try:
            return Path(cookiecutter(str(TEMPLATE), output_dir=str(folder))), None
        except FailedHookException:
            return None, capfd.readouterr().err


@lru_cache(256)
def parse(suffix, name, content):
    """Parse the content of a file; the same content once only."""
    text = content.decode()
    if suffix == ".py":
        return ast.parse(text)
    if suffix in {".yaml", ".yml"}:
        return list(yaml.safe_load_all(text))
    if suffix == ".toml":
        return tomllib.loads(text)
    if name.startswith(".env"):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            values = dotenv_values(file.name)
        assert None not in values.values()
        return values
    return text


@lru_cache(256)
def check_dockerfile(text):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(text)
        run("hadolint", "Dockerfile", cwd=Path(folder))


def labels(dockerfile):
    """The labels, by name. hadolint sees the rest only: it stumbles over two escapes in a row."""
    rest, line = [], ""
    for logical in dockerfile.replace("\\\n", "").split("\n"):
        if logical.startswith("LABEL "):
            line = logical.removeprefix("LABEL ").replace("\\$", "$")
        else:
            rest.append(logical)
    check_dockerfile("\n".join(rest))
    return dict(word.split("=", 1) for word in shlex.split(line))


def said(project):
    """What the files of a project say about each text that was answered."""
    files = {
        str(path.relative_to(project)): parse(path.suffix, path.name, path.read_bytes())
        for path in project.rglob("*")
        if path.is_file()
    }
    settings = constants((project / "config/settings.py").read_text())
    metadata = files["pyproject.toml"]["project"]
    readme = files["README.md"].split("\n")
    image = {name.rpartition(".")[2]: text for name, text in labels(files["Dockerfile"]).items()}
    return {
        "project_name": [settings["SERVICE_NAME"], readme[0][2:], image["title"]],
        "description": [
            settings["SERVICE_DESCRIPTION"],
            readme[2],
            metadata["description"],
            image["description"],
        ],
        "author_name": [metadata["authors"][0]["name"]],
        "author_email": [metadata["authors"][0]["email"]],
    }


@pytest.fixture
def no_lock(monkeypatch, tmp_path):
    """No uv on the path, so that generating an example takes less than half a second."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("options", COMBINATIONS, ids=name_of)
@settings(
    max_examples=EXAMPLES // len(COMBINATIONS),
    derandomize="EXAMPLES" not in os.environ,  # a run with a number tries others
    deadline=None,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # each step would generate a project
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn=KINDS)
def test_any_answers_are_refused_or_come_out_as_they_went_in(no_lock, capfd, options, drawn):
    kind, answers = drawn
    with tempfile.TemporaryDirectory() as folder:
        project, printed = generate(answers | options, folder, capfd)
        if project is None:
            event("refused")
            assert kind != "good", printed
            assert are_sentences(printed), printed
            assert os.listdir(folder) == []
        else:
            event("accepted")
            assert kind != "bad", answers
            for question, texts in said(project).items():
                assert texts == [answers[question]] * len(texts), question


def are_sentences(printed):
    """Whether each line names the question that it is about, and ends as a sentence does."""
    names = "|".join(set(QUESTIONS) - set(OPTIONS))
    lines = printed.splitlines()
    return lines and all(re.fullmatch(rf"({names}) .*[a-z'0-9]\.", line) for line in lines)


@pytest.mark.parametrize(
    ("options", "text"), [(FULL, "".join(FRAGMENTS)), (BARE, METACHARACTERS)], ids=["full", "bare"]
)
def test_project_with_hostile_answers_passes_its_own_checks(tmp_path, capfd, options, text):
    texts = {"project_name": text, "description": text, "author_name": text}
    slug = {"project_slug": "shop", "author_email": "o'neil+$x@example.com"}
    choices = {name: QUESTIONS[name][0] for name in ("license", "python_version")}

    project, printed = generate(texts | slug | choices | options, tmp_path, capfd)

    assert printed is None
    run("make", "check", cwd=project)
