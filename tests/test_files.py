"""The files of each combination of options, and what they must not contain."""

import re
import stat
import tomllib

from conftest import OPTIONS, WITH_ALL, each_combination, files_of

ALWAYS = """
    .dockerignore .editorconfig .env .env.example .gitattributes .github/dependabot.yml
    .github/workflows/ci.yml .github/workflows/image.yml .gitignore .pre-commit-config.yaml
    .trivyignore.yaml Dockerfile LICENSE Makefile
    README.md compose.override.yaml compose.yaml locustfile.py pyproject.toml uv.lock bin/audit bin/env
    bin/healthcheck config/__init__.py config/gunicorn.py config/settings.py
    my_service/__init__.py my_service/assets.py my_service/errors.py my_service/health.py
    my_service/home.py my_service/logs.py my_service/security.py my_service/toolbar.py
    my_service/static/favicon.svg my_service/templates/base.html
    my_service/templates/error.html my_service/templates/home.html tests/conftest.py
    tests/test_assets.py tests/test_errors.py tests/test_health.py tests/test_home.py
    tests/test_logs.py tests/test_security.py tests/test_server.py tests/test_settings.py
    tests/test_toolbar.py
""".split()
OWNED = {
    "use_postgres": """
        bin/backup bin/drill bin/restore bin/rows.sql my_service/api.py my_service/database.py my_service/models.py my_service/notes.py
        my_service/migrations/0001_create_notes.py my_service/migrations/script.py.mako
        postgres/init.sql tests/test_api.py tests/test_database.py tests/test_migrations.py
        tests/test_notes.py
    """.split(),
    "use_redis": """
        my_service/cache.py tests/test_cache.py
    """.split(),
    "use_nginx": """
        bin/deploy nginx/headers.conf nginx/nginx.conf.template nginx/servers.sh
    """.split(),
    "use_worker": """
        config/celery.py my_service/make_celery.py my_service/tasks.py my_service/templates/jobs.html my_service/worker.py
        tests/test_worker.py
    """.split(),
    "use_metrics": """
        grafana/dashboard.json my_service/metrics.py prometheus/alerts.yaml
        prometheus/alerts_test.yaml prometheus/prometheus.yml tests/test_metrics.py
    """.split(),
    "use_openapi": """
        my_service/openapi.py my_service/templates/openapi.html schemathesis.toml
        tests/test_openapi.py
    """.split(),
    "use_tls": ["caddy/Caddyfile"],
    "use_kubernetes": """
        bin/rollout deploy/kubernetes/ingress.yaml deploy/kubernetes/kustomization.yaml
        deploy/kubernetes/namespace.yaml deploy/kubernetes/network.yaml
        deploy/kubernetes/scaling.yaml deploy/kubernetes/web.yaml
    """.split(),
}
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
GREETING = ["my_service/greeting.py", "tests/test_greeting.py"]
ASSETS = """
    assets/.npmrc assets/build.mjs assets/package.json assets/package-lock.json
    assets/css/app.css assets/css/style.css my_service/templates/example.html
""".split()
NAMES = {
    "use_postgres": "postgres|psql|psycopg|sqlalchemy|alembic|migrat|database|sqlite|pg_",
    "use_redis": "redis_|cachelib|flask.caching|memoize",
    "use_nginx": "nginx",
    "use_worker": "celery|queue|enqueue|beat|background job",
    "use_tailwind": "tailwind",
    "use_metrics": "metric|prometheus|grafana",
    "use_openapi": "openapi|apispec|schemathesis",
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


def texts(project):
    """Return the text of each file except .env, which contains random characters, by path."""
    return {path: (project / path).read_bytes().decode() for path in files_of(project) - {".env"}}


def has_assets(chosen):
    """Return whether esbuild builds scripts or styles."""
    return chosen["use_tailwind"] or chosen["frontend"] != "none"


@each_combination()
def test_project_has_exactly_the_files_of_its_options(fresh, chosen):
    owned = [file for option in OPTIONS if chosen[option] for file in OWNED.get(option, [])]
    owned += GREETING if chosen["frontend"] != "none" else []
    if has_assets(chosen):
        owned += ASSETS + FRONTENDS[chosen["frontend"]]
    else:
        owned += ["my_service/static/style.css"]

    if chosen["use_postgres"] and chosen["use_worker"]:
        owned += ["my_service/migrations/0002_add_words.py", "tests/test_words.py"]
    if chosen["use_redis"] and chosen["use_metrics"]:
        owned.append("tests/test_cache_metrics.py")
    parts = {"use_postgres": "migrate", "use_worker": "worker", "use_metrics": "metrics"}
    for option, name in parts.items():
        if chosen["use_kubernetes"] and chosen[option]:
            owned.append(f"deploy/kubernetes/{name}.yaml")

    assert files_of(fresh) == {*ALWAYS, *owned}


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

    owned = {"bin/deploy", "nginx/servers.sh"} if chosen["use_nginx"] else set()
    owned |= {"bin/backup", "bin/drill", "bin/restore"} if chosen["use_postgres"] else set()
    owned |= {"bin/rollout"} if chosen["use_kubernetes"] else set()
    assert programs == {"bin/audit", "bin/env", "bin/healthcheck"} | owned


@each_combination()
def test_files_have_no_stray_whitespace_or_tags(fresh):
    foreign = (".html", ".mako", "bin/deploy", "dashboard.json", "uv.lock")  # braces of their own

    for path, text in texts(fresh).items():
        assert "\r" not in text, path
        assert not text or text.endswith("\n"), path
        assert not text.startswith("\n"), path
        assert not text.endswith("\n\n"), path
        assert not re.search(r"[ \t]$", text, re.MULTILINE), path
        python = path.endswith((".py", ".mako")) or re.match("#!.* (python3|uv run .*)\n", text)
        most = 2 if python else 1
        assert "\n" * (most + 2) not in text, path
        assert "cookiecutter" not in text.replace("[tool.cookiecutter-flask-docker]", ""), path
        if not path.endswith(("uv.lock", "package-lock.json")):
            assert not re.search("amd64|x86|arm64|aarch|platform[=:]", text), path
        text = text.replace("${{ github.", "").replace("{{.", "")
        if not path.endswith(foreign):
            assert not re.search(r"\{\{|\{%|\{#|#\}|%\}", text), path


def locked(project):
    """Return the versions in the lock file of a project."""
    packages = tomllib.loads((project / "uv.lock").read_text())["package"]
    return {package["name"]: package["version"] for package in packages if "version" in package}


@WITH_ALL
def test_env_is_private_and_ignored_by_git(fresh):
    assert (fresh / ".env").stat().st_mode & 0o777 == 0o600
    assert ".env" in (fresh / ".gitignore").read_text().splitlines()
    assert "change-me" not in (fresh / ".env").read_text()
