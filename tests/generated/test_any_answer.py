"""Random answers are rejected with a sentence each, or appear unchanged in the project."""

import ast
import io
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

import yaml
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from dotenv import dotenv_values
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from projects import BARE, OPTIONS, ROWS, TEMPLATE, WHOLE, constants, run

EXAMPLES = int(os.environ.get("EXAMPLES", 400 if WHOLE else 40))
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
    """Type ``answers`` at the prompts, and return the project or the error message."""

    def typed(name, *_, **__):
        return answers[name]

    prompts = {f"read_user_{kind}": typed for kind in ("variable", "yes_no", "choice")}
    capfd.readouterr()
    with mock.patch.multiple("cookiecutter.prompt", **prompts):
        try:
            return Path(cookiecutter(str(TEMPLATE), output_dir=str(folder))), None
        except FailedHookException:
            return None, capfd.readouterr().err


yaml.SafeLoader.add_constructor("!reset", lambda *_: None)  # of Compose: deletes a service


@lru_cache(256)
def parse(suffix, name, content):
    """Parse the content of a file; the same content is parsed only once."""
    text = content.decode()
    if suffix == ".py":
        return ast.parse(text)
    if suffix in {".yaml", ".yml"}:
        return list(yaml.safe_load_all(text))
    if suffix == ".toml":
        return tomllib.loads(text)
    if name.startswith(".env"):
        values = dotenv_values(stream=io.StringIO(text))
        assert None not in values.values()
        return values
    return text


def labels(dockerfile):
    """Return the labels, by name."""
    [line] = re.findall(r"^LABEL (.+)", dockerfile.replace("\\\n", ""), re.M)
    return dict(word.split("=", 1) for word in shlex.split(line.replace("\\$", "$")))


def said(project):
    """Return the values in the files of a project for each answer that is a text."""
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


@settings(
    max_examples=EXAMPLES,
    derandomize="EXAMPLES" not in os.environ,  # EXAMPLES=... tries other examples
    deadline=None,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # each step would generate a project
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(options=st.sampled_from(ROWS), drawn=KINDS)
def test_answers_are_rejected_or_appear_unchanged(no_lock, capfd, options, drawn):
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
    """Return whether each line starts with the name of a question, and ends as a sentence does.

    After an empty line, the hook prints the command that repeats the answers.
    """
    names = "|".join(set(QUESTIONS) - set(OPTIONS))
    lines = printed.partition("\n\n")[0].splitlines()
    return lines and all(re.fullmatch(rf"({names}) .*[a-z'0-9]\.", line) for line in lines)


def test_project_with_hostile_answers_passes_its_own_checks(tmp_path, capfd):
    """In a directory with spaces and umlauts; without options, because they contain no answers."""
    text = "".join([METACHARACTERS, *FRAGMENTS])
    texts = {"project_name": text, "description": text, "author_name": text}
    slug = {"project_slug": "shop", "author_email": "o'neil+$x@example.com"}
    choices = {name: QUESTIONS[name][0] for name in ("license", "python_version")}
    folder = tmp_path / "my projects (ü)"

    project, printed = generate(texts | slug | choices | BARE, folder, capfd)

    assert printed is None
    run("make", "check", cwd=project)
