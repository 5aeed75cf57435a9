"""Invalid answers are rejected, and all others appear unchanged in the project."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from projects import OPTIONS, TEMPLATE, run, type_in

BAD_SLUGS = ["", "MyService", "my service", "my/service", "../up", "my\\service", "it's", "con"]
QUOTES = ["It's \"quoted\" and 'quoted'", 'only "double"', "back\\slash \\n \\"]


def generate(tmp_path: Path, **answers: str):
    return type_in(tmp_path, *(f"{name}={value}" for name, value in answers.items()))


def left_behind(tmp_path: Path) -> list[str]:
    """Return the files in the output directory."""
    return [str(path) for path in (tmp_path / "out").rglob("*") if path.is_file()]


def ends_by_itself(output: str) -> bool:
    """Return whether the only traceback is that of cookiecutter for a failed hook."""
    return output.count("Traceback") == output.count("FailedHookException:") == 1


@pytest.mark.parametrize("slug", BAD_SLUGS)
def test_invalid_slug_creates_no_file(tmp_path, slug):
    done = generate(tmp_path, project_slug=slug)

    assert done.returncode == 1
    assert f"project_slug {slug!r} " in done.stdout
    assert ends_by_itself(done.stdout)
    assert left_behind(tmp_path) == []


def test_all_invalid_answers_are_rejected_at_once(tmp_path):
    done = generate(
        tmp_path, project_name=" ", project_slug="9", author_email="x", description="a\nb"
    )

    names = ("project_", "description", "author_")
    sentences = [line for line in done.stdout.splitlines() if line.startswith(names)]
    questions = ["project_slug", "author_email", "project_name", "description"]
    assert [sentence.split()[0] for sentence in sentences] == questions


def test_refused_answer_costs_no_other_answer(tmp_path):
    refused = generate(
        tmp_path, project_slug="class", project_name=QUOTES[0], use_redis="false", frontend="vue"
    )
    [command] = re.findall("^cookiecutter .+", refused.stdout, re.M)

    with_slug = command.replace("project_slug=...", "project_slug=shop")
    run("sh", "-c", f"{with_slug} --output-dir {tmp_path}", cwd=tmp_path)

    assert QUOTES[0] in (tmp_path / "shop/README.md").read_text()
    assert (tmp_path / "shop/assets/js/Greeting.vue").exists()
    assert not (tmp_path / "shop/shop/core/cache.py").exists()


@pytest.mark.parametrize(("name", "value"), [("license", "WTFPL"), ("python_version", "2.7")])
def test_unknown_choice_is_rejected_by_cookiecutter(tmp_path, name, value):
    done = generate(tmp_path, **{name: value})

    assert done.returncode != 0
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("slug", "text"),
    [
        ("a1", QUOTES[0]),
        pytest.param("x" * 40, QUOTES[1], marks=pytest.mark.weekly),
        pytest.param("shop_2", QUOTES[2], marks=pytest.mark.weekly),
    ],
)
def test_slug_and_quotes_pass_the_style_check(bake, slug, text):
    """Names change the order of imports and the length of lines, and quotes those around them."""
    options = dict.fromkeys(OPTIONS, True)
    project = bake(
        project_slug=slug, project_name=text, description=text, author_name=text, **options
    )

    assert f"Copyright (c) {text}" in (project / "LICENSE").read_text()
    run("ruff", "format", "--check", "--diff", ".", cwd=project)
    run("ruff", "check", ".", cwd=project)


@pytest.mark.parametrize(
    "license", ["MIT", "BSD-3-Clause", "Apache-2.0", "GPL-3.0-or-later", "Proprietary"]
)
def test_project_has_the_chosen_license(bake, license):
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
def test_image_has_the_chosen_python_version(bake, version):
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
