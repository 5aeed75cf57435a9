"""Delete the files of declined options, write .env and the locks, and print the next steps."""

import json
import runpy
import shutil
import subprocess
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
PACKAGE = Path(ANSWERS["project_slug"])

# The paths of each option, which are deleted if the option is declined
OWNED = {
    "use_kubernetes": ["bin/rollout", "deploy"],
    "use_postgres": [
        "deploy/kubernetes/migrate.yaml",
        "postgres",
        "bin/backup",
        "bin/drill",
        "bin/restore",
        "bin/rows.sql",
        PACKAGE / "api.py",
        PACKAGE / "database.py",
        PACKAGE / "migrations",
        PACKAGE / "models.py",
        PACKAGE / "notes.py",
        "tests/test_api.py",
        "tests/test_database.py",
        "tests/test_migrations.py",
        "tests/test_notes.py",
        "tests/test_words.py",
    ],
    "frontend": [PACKAGE / "greeting.py", "tests/test_greeting.py"],
    "use_redis": [PACKAGE / "cache.py", "tests/test_cache.py", "tests/test_cache_metrics.py"],
    "use_nginx": ["nginx", "bin/deploy"],
    "use_worker": [
        "config/celery.py",
        "deploy/kubernetes/worker.yaml",
        PACKAGE / "make_celery.py",
        PACKAGE / "migrations/0002_add_words.py",
        PACKAGE / "tasks.py",
        PACKAGE / "templates/jobs.html",
        PACKAGE / "worker.py",
        "tests/test_words.py",
        "tests/test_worker.py",
    ],
    "use_metrics": [
        "deploy/kubernetes/metrics.yaml",
        "grafana",
        "prometheus",
        PACKAGE / "metrics.py",
        "tests/test_cache_metrics.py",
        "tests/test_metrics.py",
    ],
    "use_openapi": [
        PACKAGE / "openapi.py",
        PACKAGE / "templates/openapi.html",
        "schemathesis.toml",
        "tests/test_openapi.py",
    ],
    "use_tls": ["caddy"],
}
# Where the files of a front end belong that are in assets/variants/
VARIANTS = {
    ".html": PACKAGE / "templates",
    ".js": Path("assets/js"),
    ".jsx": Path("assets/js"),
    ".vue": Path("assets/js"),
}
LOCK_SECONDS = 60


def prune(answers, root=Path()):
    """Delete the paths of declined options."""
    for option, paths in OWNED.items():
        for path in paths if answers[option] in (False, "none") else []:
            if (root / path).is_dir():
                shutil.rmtree(root / path)
            else:
                (root / path).unlink(missing_ok=True)


def has_assets(answers):
    """Return whether esbuild builds scripts or styles."""
    return answers["use_tailwind"] or answers["frontend"] != "none"


def choose_frontend(answers, root=Path()):
    """Move the files of the chosen front end to their places; later folders replace files."""
    variants = root / "assets/variants"
    tailwind = ["tailwind"] if answers["use_tailwind"] else []
    for folder in ["any", answers["frontend"], *tailwind] if has_assets(answers) else []:
        for file in (variants / folder).iterdir():
            place = root / VARIANTS[file.suffix]
            place.mkdir(exist_ok=True)
            file.replace(place / file.name)
    shutil.rmtree(variants)
    style = root / PACKAGE / "static/style.css"
    if has_assets(answers):
        style.replace(root / "assets/css/style.css")
    else:
        shutil.rmtree(root / "assets")


def write_env():
    """Create .env with the program of the project that ``make env`` runs."""
    runpy.run_path("bin/env")["write"](Path.cwd())


def lock(answers):
    """Write the lock files, and return what is missing and the program that it needs."""
    commands = {"uv.lock": ["uv", "lock", "--quiet"]}
    if has_assets(answers):
        commands["assets/package-lock.json"] = ["npm", "install", "--package-lock-only"]
    return {
        file: command[0] for file, command in commands.items() if not written(Path(file), *command)
    }


def written(file, program, *arguments):
    """Run a program in the directory of ``file``, and return whether it wrote the file."""
    if not (found := shutil.which(program)):
        return False
    options = {"cwd": file.parent, "capture_output": True, "timeout": LOCK_SECONDS}
    try:
        done = subprocess.run([found, *arguments], **options)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and file.exists()  # in a workspace it is elsewhere


def next_steps(answers, missing):
    """Return the commands to run next, in at most eight lines."""
    lines = [
        f"{answers['project_slug']} is ready:",
        f"  cd {answers['project_slug']}",
        f"  make up     # start the service in Docker, on http://127.0.0.1:{answers['__port']}",
        "  make run    # start it without Docker, on http://127.0.0.1:8000",
        "  make help   # list all commands",
    ]
    for file, program in missing.items():
        lines.append(
            f"{file} is missing (it needs {program} and a network connection): run `make lock`."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    prune(ANSWERS)
    choose_frontend(ANSWERS)
    write_env()
    print(next_steps(ANSWERS, lock(ANSWERS)))
