"""Which files a choice of options leaves, and what must not be in any of them."""

import re
import tomllib

import pytest
from conftest import EACH, files_of

ALWAYS = [
    ".dockerignore",
    ".editorconfig",
    ".env",
    ".env.example",
    ".gitattributes",
    ".github/dependabot.yml",
    ".github/workflows/ci.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "compose.override.yaml",
    "compose.yaml",
    "locustfile.py",
    "pyproject.toml",
    "uv.lock",
    "bin/env",
    "bin/healthcheck",
    "config/__init__.py",
    "config/gunicorn.py",
    "config/settings.py",
    "my_service/__init__.py",
    "my_service/assets.py",
    "my_service/errors.py",
    "my_service/health.py",
    "my_service/home.py",
    "my_service/logs.py",
    "my_service/security.py",
    "my_service/toolbar.py",
    "my_service/static/favicon.svg",
    "my_service/static/style.css",
    "my_service/templates/base.html",
    "my_service/templates/error.html",
    "my_service/templates/home.html",
    "tests/conftest.py",
    "tests/test_assets.py",
    "tests/test_errors.py",
    "tests/test_health.py",
    "tests/test_home.py",
    "tests/test_logs.py",
    "tests/test_security.py",
    "tests/test_server.py",
    "tests/test_settings.py",
    "tests/test_toolbar.py",
]
OWNED = {
    "use_postgres": [
        "my_service/api.py",
        "my_service/database.py",
        "my_service/models.py",
        "my_service/notes.py",
        "my_service/migrations/0001_create_notes.py",
        "my_service/migrations/script.py.mako",
        "postgres/init.sql",
        "tests/test_api.py",
        "tests/test_database.py",
        "tests/test_migrations.py",
        "tests/test_notes.py",
    ],
    "use_redis": ["my_service/cache.py", "tests/test_cache.py"],
    "use_nginx": [
        "bin/deploy",
        "nginx/headers.conf",
        "nginx/nginx.conf.template",
        "nginx/servers.conf.template",
    ],
}
NAMES = {
    "use_postgres": "postgres|psql|psycopg|sqlalchemy|alembic|migrat|database|sqlite|pg_",
    "use_redis": "redis|cachelib|flask_caching|flask-caching",
    "use_nginx": "nginx",
}


def texts(project):
    """The text of each file but .env, which holds random characters, by path."""
    return {path: (project / path).read_bytes().decode() for path in files_of(project) - {".env"}}


@pytest.fixture(scope="module", params=EACH)
def combination(request):
    """The answers to the questions for options."""
    return request.param


@pytest.fixture(scope="module")
def fresh(combination, cookies_session):
    """A project in which nothing has been run."""
    result = cookies_session.bake(extra_context=combination)
    assert result.exception is None, result.exception
    return result.project_path


def test_project_has_exactly_the_files_of_its_options(fresh, combination):
    owned = [file for option, chosen in combination.items() if chosen for file in OWNED[option]]

    assert files_of(fresh) == {*ALWAYS, *owned}


def test_declined_option_leaves_no_trace(fresh, combination):
    declined = "|".join(NAMES[option] for option, chosen in combination.items() if not chosen)

    traces = [
        f"{path}:{number}: {line}"
        for path, text in texts(fresh).items()
        for number, line in enumerate([path, *text.splitlines()])
        if declined and re.search(declined, line, re.IGNORECASE)
    ]

    assert traces == []


def test_text_is_clean(fresh):
    foreign = (".html", ".mako", "bin/deploy", "uv.lock")  # braces of their own

    for path, text in texts(fresh).items():
        assert "\r" not in text, path
        assert not text or text.endswith("\n"), path
        assert not text.startswith("\n"), path
        assert not text.endswith("\n\n"), path
        assert not re.search(r"[ \t]$", text, re.MULTILINE), path
        python = path.endswith((".py", ".mako")) or text.startswith("#!/usr/bin/env python3\n")
        most = 2 if python else 1
        assert "\n" * (most + 2) not in text, path
        assert "cookiecutter" not in text.replace("[tool.cookiecutter-flask-docker]", ""), path
        text = text.replace("${{ github.", "")
        if not path.endswith(foreign):
            assert not re.search(r"\{\{|\{%|\{#|#\}|%\}", text), path


def locked(project):
    """The versions in the lock of a project."""
    packages = tomllib.loads((project / "uv.lock").read_text())["package"]
    return {package["name"]: package["version"] for package in packages if "version" in package}


def test_generating_twice_differs_in_env_only(bake, tmp_path):
    first, second = bake(), bake()

    different = {
        path
        for path in files_of(first)
        if (first / path).read_bytes() != (second / path).read_bytes()
    }

    assert files_of(first) == files_of(second)
    # An index may tell more of a file at one time than at another, such as when it was uploaded.
    assert different - {"uv.lock"} == {".env"}
    assert locked(first) == locked(second)


def test_env_is_for_its_owner_only_and_not_for_git(bake):
    project = bake()

    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert ".env" in (project / ".gitignore").read_text().splitlines()
    assert "change-me" not in (project / ".env").read_text()
