"""Delete what was declined, write .env, lock the dependencies, and say what to do next."""

import json
import runpy
import shutil
import subprocess
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
PACKAGE = Path(ANSWERS["project_slug"])

# Which paths belong to an option, and go when it is declined
OWNED = {
    "use_postgres": [
        "postgres",
        PACKAGE / "api.py",
        PACKAGE / "database.py",
        PACKAGE / "migrations",
        PACKAGE / "models.py",
        PACKAGE / "notes.py",
        "tests/test_api.py",
        "tests/test_database.py",
        "tests/test_migrations.py",
        "tests/test_notes.py",
    ],
    "use_redis": [PACKAGE / "cache.py", "tests/test_cache.py"],
    "use_nginx": ["nginx", "bin/deploy"],
}
LOCK_SECONDS = 60


def prune(answers, root=Path()):
    """Delete what the declined options own."""
    for option, paths in OWNED.items():
        for path in paths if not answers[option] else []:
            if (root / path).is_dir():
                shutil.rmtree(root / path)
            else:
                (root / path).unlink(missing_ok=True)


def write_env():
    """Write .env as the project itself does with ``make env``."""
    runpy.run_path("bin/env")["write"](Path.cwd())


def lock():
    """Write uv.lock; whether that went well."""
    if not (uv := shutil.which("uv")):
        return False
    try:
        done = subprocess.run([uv, "lock", "--quiet"], capture_output=True, timeout=LOCK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and Path("uv.lock").exists()  # in a workspace it is elsewhere


def next_steps(answers, locked):
    """What to type next, in at most eight lines."""
    lines = [
        f"{answers['project_slug']} is ready:",
        f"  cd {answers['project_slug']}",
        f"  make up     # the stack in Docker, on http://127.0.0.1:{answers['__port']}",
        "  make run    # or without Docker, on http://127.0.0.1:8000",
        "  make help   # everything else",
    ]
    if not locked:
        lines.append("uv.lock is not written yet (that needs uv and the network): run `make lock`.")
    return "\n".join(lines)


if __name__ == "__main__":
    prune(ANSWERS)
    write_env()
    print(next_steps(ANSWERS, lock()))
