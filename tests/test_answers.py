"""Which answers are refused, and that all others come out as they went in."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, TEMPLATE, constants, run, type_in

MODULE = "would hide the module"
SHAPE = "has to begin with a lower-case letter"
BAD_SLUGS = {
    "": SHAPE,
    "9lives": SHAPE,
    "_private": SHAPE,
    "MyService": SHAPE,
    "my-service": SHAPE,
    "my.service": SHAPE,
    "my service": SHAPE,
    "my/service": SHAPE,
    "../service": SHAPE,
    "my\\service": SHAPE,
    "it's": SHAPE,
    'my"service': SHAPE,
    "dienst_ü": SHAPE,
    "service_": SHAPE,
    "my___service": SHAPE,
    "сервис": SHAPE,
    "a" * 41: "40 are the most",
    "class": "word of the Python language",
    "match": "word of the Python language",
    "json": MODULE,
    "compression": MODULE,
    "test": MODULE,
    "config": MODULE,
    "tests": MODULE,
    "flask": MODULE,
    "redis": MODULE,
    "sqlalchemy": MODULE,
    "gunicorn": MODULE,
    "nginx": MODULE,
    "public": "has a meaning in PostgreSQL",
    "pg_catalog": "has a meaning in PostgreSQL",
    "null": "has a meaning in PostgreSQL or YAML",
    "con": "cannot be a folder on Windows",
    "lpt1": "cannot be a folder on Windows",
}
BAD_ADDRESSES = [
    "",
    "you",
    "you@",
    "@example.com",
    "you@example",
    "a b@example.com",
    "a@b@c.de",
    'a"@b.de',
    "a@b..de",
]
HOSTILE = [
    "It's \"quoted\" and 'quoted'",
    'only "double"',
    "back\\slash \\n \\",
    "$HOME ${HOME} $(id) `id` %d %%",
    "<script>alert('x')</script> & <b>",
    "🚀 ünï 日本語 עברית",
    "# : - [x] {y} | > * !",
    "{ {% no tag %} }".replace("%", "/"),
    "x" * 300,
]


def generate(tmp_path: Path, **answers: str):
    return type_in(tmp_path, *(f"{name}={value}" for name, value in answers.items()))


def left_behind(tmp_path: Path) -> list[str]:
    """The files under the output directory."""
    return [str(path) for path in (tmp_path / "out").rglob("*") if path.is_file()]


def ends_by_itself(output: str) -> bool:
    """Whether the only traceback is the one that cookiecutter prints about every failed hook."""
    return output.count("Traceback") == output.count("FailedHookException:") == 1


@pytest.mark.parametrize(("slug", "reason"), BAD_SLUGS.items(), ids=map(repr, BAD_SLUGS))
def test_bad_slug_is_refused_with_a_sentence(tmp_path, slug, reason):
    done = generate(tmp_path, project_slug=slug)

    assert done.returncode == 1
    assert reason in done.stdout
    assert ends_by_itself(done.stdout)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_bad_address_is_refused_with_a_sentence(tmp_path, address):
    done = generate(tmp_path, author_email=address)

    assert done.returncode == 1
    assert "is not an e-mail address such as" in done.stdout
    assert ends_by_itself(done.stdout)
    assert not (tmp_path / "out/my_service").exists()


@pytest.mark.parametrize("name", ["project_name", "description", "author_name"])
@pytest.mark.parametrize(
    "text", ["two\nlines", "carriage\rreturn", "tab\tulator", "bell\a", "line\u2028break"]
)
def test_text_of_more_than_a_line_is_refused(tmp_path, name, text):
    done = generate(tmp_path, **{"project_slug": "shop", name: text})

    assert done.returncode == 1
    assert f"{name} holds a line break" in done.stdout
    assert not (tmp_path / "out/shop").exists()


def test_all_bad_answers_are_refused_at_once(tmp_path):
    done = generate(
        tmp_path, project_name=" ", project_slug="9", author_email="x", description="a\nb"
    )

    names = ("project_", "description", "author_")
    sentences = [line for line in done.stdout.splitlines() if line.startswith(names)]
    assert [sentence.split()[0] for sentence in sentences] == [
        "project_slug",
        "author_email",
        "project_name",
        "description",
    ]


@pytest.mark.parametrize(("name", "value"), [("license", "WTFPL"), ("python_version", "2.7")])
def test_unknown_choice_is_refused_by_cookiecutter(tmp_path, name, value):
    done = generate(tmp_path, **{name: value})

    assert done.returncode != 0
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_any_other_text_comes_out_as_it_went_in(bake, text):
    project = bake(project_slug="shop", project_name=text, description=text, author_name=text)

    said = constants((project / "config/settings.py").read_text())
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    readme = (project / "README.md").read_text().splitlines()
    assert (said["SERVICE_NAME"], said["SERVICE_DESCRIPTION"]) == (text, text)
    assert (metadata["description"], metadata["authors"][0]["name"]) == (text, text)
    assert (readme[0], readme[2]) == (f"# {text}", text)
    assert f"Copyright (c) {text}" in (project / "LICENSE").read_text()
    run("ruff", "format", "--check", "--diff", ".", cwd=project)
    run("ruff", "check", ".", cwd=project)


def test_hostile_text_is_escaped_on_the_page(bake):
    text = "<script>alert(\"x\")</script> & 'y' \\ 🚀"
    project = bake(project_slug="shop", project_name=text, use_postgres=False, use_redis=False)
    page = """
from html import unescape
from shop import create_app
text = create_app({"TESTING": True}).test_client().get("/").text
assert "<script" not in text, text
print(unescape(text.split("<h1>")[1].split("</h1>")[0]))
"""

    shown = run("uv", "run", "--quiet", "python", "-c", page, cwd=project).stdout

    assert shown.strip() == text


@pytest.mark.parametrize("slug", ["a1", "x" * 40, "shop_2"])
def test_any_good_slug_passes_the_style_check(bake, slug):
    project = bake(project_slug=slug)

    run("ruff", "format", "--check", "--diff", ".", cwd=project)
    run("ruff", "check", ".", cwd=project)


@pytest.mark.parametrize("text", ["{{ cookiecutter }}", "{% raw %}", "{# comment #}", "{{"])
def test_braces_typed_at_a_prompt_are_text(tmp_path, text):
    answers = [text, "shop", text, text, "me@example.com", "", "", "n", "n", "n"]
    command = [sys.executable, "-m", "cookiecutter", TEMPLATE, "--output-dir", tmp_path]

    done = subprocess.run(
        command, input="\n".join(answers) + "\n", env=ENVIRONMENT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    project = tmp_path / "shop"
    assert tomllib.loads((project / "pyproject.toml").read_text())["project"]["description"] == text
    assert (project / "README.md").read_text().startswith(f"# {text}\n\n{text}\n")


@pytest.mark.parametrize(
    "license", ["MIT", "BSD-3-Clause", "Apache-2.0", "GPL-3.0-or-later", "Proprietary"]
)
def test_license_is_the_chosen_one(bake, license):
    project = bake(license=license)

    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    text = (project / "LICENSE").read_text()
    first_words = {
        "MIT": "MIT License",
        "BSD-3-Clause": "BSD 3-Clause License",
        "Apache-2.0": "Apache License",
        "GPL-3.0-or-later": "GNU GENERAL PUBLIC LICENSE",
        "Proprietary": "Copyright (c) Your Name. All rights reserved.",
    }
    assert metadata["license"] == (
        license if license != "Proprietary" else "LicenseRef-Proprietary"
    )
    assert text.strip().startswith(first_words[license])


@pytest.mark.parametrize("version", ["3.14", "3.13", "3.12"])
def test_image_has_the_chosen_python(bake, version):
    dockerfile = (bake(python_version=version) / "Dockerfile").read_text()

    images = [
        line.split()[1] for line in dockerfile.splitlines() if line.startswith("FROM python:")
    ]
    assert set(images) == {f"python:{version}-slim-trixie"}


def test_every_question_has_a_label_without_brackets():
    questions = json.loads((TEMPLATE / "cookiecutter.json").read_text())
    labels = questions["__prompts__"]

    assert set(labels) == {name for name in questions if not name.startswith("_")}
    assert "[" not in json.dumps(labels)
