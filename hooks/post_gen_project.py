"""Delete the files of declined options, write .env and uv.lock, and print the next steps."""

import json
import runpy
import shutil
import subprocess
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
PACKAGE = Path(ANSWERS["project_slug"])

# The paths of each option, which are deleted if the option is declined
OWNED = {
    "use_postgres": [
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
    "use_redis": [PACKAGE / "cache.py", "tests/test_cache.py"],
    "use_nginx": ["nginx", "bin/deploy"],
    "use_worker": [
        "config/celery.py",
        PACKAGE / "make_celery.py",
        PACKAGE / "migrations/0002_add_words.py",
        PACKAGE / "tasks.py",
        PACKAGE / "templates/jobs.html",
        PACKAGE / "worker.py",
        "tests/test_words.py",
        "tests/test_worker.py",
    ],
    "use_metrics": ["grafana", "prometheus", PACKAGE / "metrics.py", "tests/test_metrics.py"],
}
LOCK_SECONDS = 60


def prune(answers, root=Path()):
    """Delete the paths of declined options."""
    for option, paths in OWNED.items():
        for path in paths if not answers[option] else []:
            if (root / path).is_dir():
                shutil.rmtree(root / path)
            else:
                (root / path).unlink(missing_ok=True)


def write_env():
    """Create .env with the program of the project that ``make env`` runs."""
    runpy.run_path("bin/env")["write"](Path.cwd())


def lock():
    """Write uv.lock, and return whether that succeeded."""
    if not (uv := shutil.which("uv")):
        return False
    try:
        done = subprocess.run([uv, "lock", "--quiet"], capture_output=True, timeout=LOCK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and Path("uv.lock").exists()  # in a workspace it is elsewhere


def next_steps(answers, locked):
    """Return the commands to run next, in at most eight lines."""
    lines = [
        f"{answers['project_slug']} is ready:",
        f"  cd {answers['project_slug']}",
        f"  make up     # start the service in Docker, on http://127.0.0.1:{answers['__port']}",
        "  make run    # start it without Docker, on http://127.0.0.1:8000",
        "  make help   # list all commands",
    ]
    if not locked:
        lines.append("uv.lock is missing (it needs uv and a network connection): run `make lock`.")
    return "\n".join(lines)


if __name__ == "__main__":
    prune(ANSWERS)
    write_env()
    print(next_steps(ANSWERS, lock()))
