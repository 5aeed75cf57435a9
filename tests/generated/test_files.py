"""The files of each combination of options, and what they must not contain."""

import json
import re
import stat

import yaml
from projects import (
    OPTIONS,
    OWNED,
    TEMPLATE,
    WITH_ALL,
    each_combination,
    files_of,
    has_assets,
    is_declined,
    texts,
)

QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
ALWAYS = """
    .dockerignore .editorconfig .env .env.example .gitattributes .github/dependabot.yml
    .github/workflows/ci.yml .github/workflows/image.yml .gitignore .pre-commit-config.yaml
    .trivyignore Dockerfile LICENSE Makefile
    README.md compose.override.yaml compose.yaml locustfile.py pyproject.toml uv.lock bin/audit bin/env
    bin/checks.py bin/commands.py bin/deploy bin/failures bin/healthcheck bin/images.py bin/services.py
    config/__init__.py config/gunicorn.py config/settings.py
    my_service/__init__.py my_service/core/__init__.py my_service/core/assets.py
    my_service/core/errors.py my_service/core/health.py my_service/home.py
    my_service/core/logs.py my_service/core/security.py my_service/core/toolbar.py
    my_service/static/favicon.svg my_service/templates/base.html
    my_service/templates/error.html my_service/templates/home.html tests/conftest.py
    tests/core/test_assets.py tests/core/test_errors.py tests/core/test_health.py tests/test_home.py
    tests/core/test_logs.py tests/core/test_security.py tests/test_server.py tests/test_settings.py
    tests/core/test_toolbar.py tests/core/conftest.py tests/core/templates/error.html
    tests/test_gunicorn.py tests/test_production.py tests/test_setting_limits.py
    docs/add.md docs/change.md docs/configure.md docs/deploy.md docs/files-and-streams.md
    docs/remove.md docs/test.md docs/troubleshooting.md docs/update.md
""".split()
REPOSITORY = QUESTIONS["__template_url"]  # to which the documents refer
ALWAYS_PROGRAMS = ["audit", "deploy", "env", "failures", "healthcheck"]


# What each answer brings, beside the files of every front end
FRONTENDS = {
    "none": ["assets/js/app.js"],  # for Tailwind
    "htmx": ["assets/js/app.js", "my_service/templates/greeting.html"],
    "hotwire": ["assets/js/app.js", "my_service/templates/greeting.html"],
    "alpine": ["assets/js/app.js"],
    "vue": ["assets/js/app.js", "assets/js/Greeting.vue"],
    "react": ["assets/js/app.jsx", "assets/js/Greeting.jsx"],
    "jquery": ["assets/js/app.js"],
}
GREETING = """
    my_service/greeting.py my_service/templates/example.html tests/test_greeting.py
""".split()
ASSETS = ["assets/package-lock.json", "assets/css/style.css"]
NAMES = {
    "use_postgres": "postgres|psql|psycopg|sqlalchemy|alembic|migrat|database|sqlite|pg_",
    "use_redis": "redis_|cachelib|flask.caching|memoize",
    "use_nginx": "nginx",
    "use_worker": "celery|queue|enqueue|beat|background job",
    "use_tailwind": "tailwind",
    "use_metrics": "metric|prometheus|grafana",
    "use_openapi": r"/openapi|openapi\.|schemathesis",
    "use_accounts": r"accounts_|/account\b|argon2|two.factor|uniquifier|smtps|templates/security|users\.py",
    "use_tls": "caddy|acme|let's encrypt",
    "use_kubernetes": "kube|kustom|manifest|rollout|ingress|pod(s|\\b)",
}
NAMES_OF_FRONTENDS = {
    "htmx": "htmx|hx-",
    "hotwire": "hotwire|turbo|stimulus",
    "alpine": "alpine|x-data",
    "vue": r"\bvue\b",
    "react": r"\breact\b|jsx",
    "jquery": "jquery",
}
NAMES_OF_ASSETS = r"esbuild|\bnpm\b|\bnode\b|node_modules|assets/|static/built|bundle|variants"


# Files that programs write
GENERATED = (".lock", ".json", ".svg")


def owned(chosen):
    """Return the files of options that are not declined."""
    declined = {
        str(path) for owner, paths in OWNED.items() if is_declined(owner, chosen) for path in paths
    }
    return {str(path) for paths in OWNED.values() for path in paths} - declined


@each_combination()
def test_project_has_exactly_the_files_of_its_options(fresh, chosen):
    if not has_assets(chosen):
        brought = ["my_service/static/style.css"]
    else:
        brought = ASSETS + FRONTENDS[chosen["frontend"]]
    if chosen["frontend"] != "none":
        brought += GREETING
    replaced = {"assets/js/app.js"} if chosen["frontend"] == "react" else set()

    assert files_of(fresh) == {*ALWAYS, *owned(chosen), *brought} - replaced


def long_lines(text, columns, markdown=False):
    """Yield the lines that could be broken: no table, no command, no word of 60 characters."""
    fenced = False
    for line in text.splitlines():
        fenced ^= markdown and line.lstrip().startswith("```")
        words = re.sub(r"`[^`]*`", lambda code: "_" * len(code[0]), line) if markdown else line
        breakable = max(map(len, words.split()), default=0) < 60
        if len(line) > columns and breakable and not (markdown and (fenced or line[0] == "|")):
            yield line


@each_combination()
def test_lines_have_at_most_100_columns(fresh, chosen):
    long = [
        f"{path}: {line}"
        for path, text in texts(fresh).items()
        if not path.endswith(GENERATED)
        for line in long_lines(text, 100, path.endswith(".md"))
    ]

    assert long == []


def test_lines_of_the_source_have_at_most_120_columns():
    source = TEMPLATE / "{{cookiecutter.project_slug}}"
    long = [
        f"{path.name}: {line}"
        for path in sorted(source.rglob("*"))
        if path.is_file() and path.suffix not in GENERATED
        for line in long_lines(path.read_text(), 120, path.suffix == ".md")
    ]

    assert long == []


def test_long_line_is_found():
    words = "word " * 30
    table, command = f"| {words}|", f"`{words}`"

    assert list(long_lines(words, 100)) == [words]
    assert list(long_lines(f"{table}\n{command}\n```\n{words}\n```\n", 100, markdown=True)) == []


def flow_style(text):
    """Yield what is written in one line in YAML, but is not a short list of words."""
    begun = []
    for token in yaml.scan(text):
        empty = text.startswith("{}", token.start_mark.index)
        if isinstance(token, yaml.FlowMappingStartToken) and not empty:
            yield text.splitlines()[token.start_mark.line]
        if isinstance(token, yaml.FlowSequenceStartToken):
            begun.append(token.start_mark)
        if isinstance(token, yaml.FlowSequenceEndToken):
            start = begun.pop()
            if token.end_mark.index - start.index > 60:
                yield text.splitlines()[start.line]


@each_combination()
def test_yaml_is_in_block_style(fresh, chosen):
    found = [
        f"{path}: {line}"
        for path, text in texts(fresh).items()
        if path.endswith((".yaml", ".yml"))
        for line in flow_style(text)
    ]

    assert found == []


def test_flow_style_is_found():
    assert list(flow_style("a: {b: c}")) == ["a: {b: c}"]
    assert list(flow_style("a: [b, c]")) == []
    assert len(list(flow_style(f"a: [b, {'c' * 60}]"))) == 1


@each_combination()
def test_declined_option_leaves_no_trace(fresh, chosen):
    declined = [NAMES[option] for option in OPTIONS if not chosen[option]]
    declined += [names for name, names in NAMES_OF_FRONTENDS.items() if name != chosen["frontend"]]
    if not chosen["use_redis"] and not chosen["use_worker"]:
        declined.append("redis")
    if not has_assets(chosen):
        declined.append(NAMES_OF_ASSETS)

    traces = [
        f"{path}:{number}: {line}"
        for path, text in texts(fresh).items()
        for number, line in enumerate([path, *text.splitlines()])
        if not path.endswith("package-lock.json")
        if re.search("|".join(declined), line, re.IGNORECASE)
    ]

    assert traces == []


@each_combination()
def test_only_programs_are_executable(fresh, chosen):
    programs = {path for path in files_of(fresh) if (fresh / path).stat().st_mode & stat.S_IXUSR}

    owned = {"bin/backup", "bin/drill", "bin/restore"} if chosen["use_postgres"] else set()
    owned |= {"bin/rollout"} if chosen["use_kubernetes"] else set()
    assert programs == {f"bin/{name}" for name in ALWAYS_PROGRAMS} | owned


@each_combination()
def test_files_have_no_stray_whitespace_or_tags(fresh):
    foreign = (
        ".html",
        ".mako",
        ".txt",
        "bin/deploy",
        "dashboard.json",
        "uv.lock",
    )  # braces of their own

    for path, text in texts(fresh).items():
        assert "\r" not in text, path
        assert not text or text.endswith("\n"), path
        assert not text.startswith("\n"), path
        assert not text.endswith("\n\n"), path
        assert not re.search(r"[ \t]$", text, re.MULTILINE), path
        python = path.endswith((".py", ".mako")) or re.match("#!.* (python3|uv run .*)\n", text)
        most = 2 if python else 1
        prose = re.sub("(?s)```python.*?```", "a block", text) if path.endswith(".md") else text
        assert "\n" * (most + 2) not in prose, path
        named = text.replace("[tool.cookiecutter-flask-docker]", "").replace(REPOSITORY, "")
        assert "cookiecutter" not in named, path
        if not path.endswith(("uv.lock", "package-lock.json")):
            assert not re.search("amd64|x86|arm64|aarch|platform[=:]", text), path
        text = text.replace("${{ github.", "").replace("{{.", "")
        text = re.sub("(?s)```html.*?```", "a page", text) if path.endswith(".md") else text
        if not path.endswith(foreign):
            assert not re.search(r"\{\{|\{%|\{#|#\}|%\}", text), path


@WITH_ALL
def test_env_is_private_and_ignored_by_git(fresh):
    assert (fresh / ".env").stat().st_mode & 0o777 == 0o600
    assert ".env" in (fresh / ".gitignore").read_text().splitlines()
    assert "change-me" not in (fresh / ".env").read_text()
