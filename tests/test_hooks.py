"""The hooks, as functions: rendered as cookiecutter renders them, then called."""

import json
import re
import runpy
import subprocess

import pytest
from conftest import TEMPLATE, run
from test_files import locked

ANSWERS = {
    "project_slug": "shop",
    "__asked_slug": "shop",
    "project_name": "Shop",
    "description": "Sells.",
    "author_name": "Me",
    "author_email": "me@example.com",
    "use_postgres": False,
    "use_redis": True,
    "use_nginx": False,
    "__port": "8000",
}


@pytest.fixture
def hook(tmp_path):
    """Load a hook with answers in it, without running it."""

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


def test_good_answers_have_no_problems(hook):
    pre = hook("pre_gen_project")

    assert pre["problems"](ANSWERS) == []


def test_every_problem_is_one_sentence(hook):
    pre = hook("pre_gen_project")
    bad = {"__asked_slug": "json", "author_email": "x", "project_name": "", "description": "\0"}

    found = pre["problems"](ANSWERS | bad)

    assert len(found) == 4
    assert all(problem.endswith(".") and "\n" not in problem for problem in found)


MODULES = "from importlib.metadata import packages_distributions as p; print(*p(), sep='\\n')"


def test_no_project_is_called_like_a_module_or_folder_of_its_own(hook, bake):
    check = hook("pre_gen_project")["check_slug"]
    project = bake(project_slug="shop")
    folders = {path.stem for path in project.iterdir() if path.is_dir() or path.suffix == ".py"}
    modules = run("uv", "run", "--quiet", "python", "-c", MODULES, cwd=project).stdout.split()
    libraries = {name.replace("-", "_").lower() for name in locked(project)}

    assert min(len(libraries), len(modules)) > 40
    taken = {name for name in libraries | {*folders, *modules} if re.match("[a-z]", name)}
    assert {name for name in taken if check(name) is None} == {"shop"}


def test_prune_deletes_what_declined_options_own_and_nothing_else(post, tmp_path):
    for path in ["nginx/a", "shop/migrations/b.py", "shop/notes.py", "shop/cache.py", "bin/env"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    post["prune"](ANSWERS, tmp_path)
    post["prune"](ANSWERS, tmp_path)

    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"shop/cache.py", "bin/env", "post_gen_project.py"}


def test_every_path_that_an_option_owns_exists_in_the_template(hook):
    slug = "{{cookiecutter.project_slug}}"
    owned = hook("post_gen_project", project_slug=slug)["OWNED"]

    missing = [
        path for paths in owned.values() for path in paths if not (TEMPLATE / slug / path).exists()
    ]

    assert missing == []


def test_message_has_at_most_eight_lines(post):
    for has_lock in (True, False):
        message = post["next_steps"](ANSWERS, has_lock)
        assert len(message.splitlines()) <= 8
        assert ("make lock" in message) is not has_lock


@pytest.mark.parametrize(
    "outcome",
    [
        subprocess.CompletedProcess([], 2),
        subprocess.CompletedProcess([], 0),  # and uv.lock is in a workspace's folder
        subprocess.TimeoutExpired("uv", 60),
        PermissionError("uv"),
    ],
)
def test_lock_that_fails_is_not_an_error(post, monkeypatch, tmp_path, outcome):
    def run(*_, **__):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)

    assert post["lock"]() is False


def test_lock_without_uv_is_left_to_the_owner(post, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    assert post["lock"]() is False


def test_generation_without_uv_finishes(cookies, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    result = cookies.bake()

    assert result.exception is None
    assert (result.project_path / ".env").exists()
    assert not (result.project_path / "uv.lock").exists()


def test_generation_without_network_finishes(cookies, monkeypatch, tmp_path):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path))

    result = cookies.bake()

    assert result.exception is None
    assert not (result.project_path / "uv.lock").exists()


def test_generating_again_keeps_the_secrets(cookies):
    first = cookies.bake().project_path
    secrets = (first / ".env").read_text()
    (first / "bin/env").unlink()

    from cookiecutter.main import cookiecutter

    cookiecutter(
        str(TEMPLATE), no_input=True, overwrite_if_exists=True, output_dir=str(first.parent)
    )

    assert (first / "bin/env").exists()
    assert (first / ".env").read_text() == secrets
