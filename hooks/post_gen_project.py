"""Delete the files of declined options, write .env and the locks, and print the next steps."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
PACKAGE = Path(ANSWERS["project_slug"])

# The files of each option, which are deleted if it is declined; a file of two options, if one of
# them is, and a file of "use_a or use_b", if both are. No folders: an owner who
# generates the project again may have files there.
OWNED = {
    "use_kubernetes": [
        "bin/rollout",
        "deploy/kubernetes/ingress.yaml",
        "deploy/kubernetes/kustomization.yaml",
        "deploy/kubernetes/metrics.yaml",
        "deploy/kubernetes/migrate.yaml",
        "deploy/kubernetes/namespace.yaml",
        "deploy/kubernetes/network.yaml",
        "deploy/kubernetes/scaling.yaml",
        "deploy/kubernetes/web.yaml",
        "deploy/kubernetes/worker.yaml",
        "docs/kubernetes.md",
        "nginx/kustomization.yaml",
        "tests/core/test_metrics_pods.py",
    ],
    "use_postgres": [
        "deploy/kubernetes/migrate.yaml",
        "docs/backups.md",
        "postgres/init.sql",
        "bin/backup",
        "bin/backups.py",
        "bin/databases.py",
        "bin/drill",
        "bin/programs.py",
        "bin/restore",
        "bin/rows.sql",
        PACKAGE / "core/database.py",
        PACKAGE / "core/migrations.py",
        PACKAGE / "migrations/0001_create_notes.py",
        PACKAGE / "migrations/script.py.mako",
        PACKAGE / "models.py",
        PACKAGE / "notes.py",
        "tests/core/test_cache_commits.py",
        "tests/core/test_database.py",
        "tests/core/test_timeouts.py",
        "tests/core/test_migration_lock.py",
        "tests/core/test_database_metrics.py",
        "tests/test_notes_cache.py",
        "tests/test_migrations.py",
        "tests/test_notes.py",
    ],
    "frontend": [PACKAGE / "greeting.py", "tests/test_greeting.py"],
    "use_redis": [
        PACKAGE / "core/cache.py",
        "tests/core/test_cache.py",
        "tests/core/test_cache_settings.py",
        "tests/test_notes_cache.py",
        "tests/core/test_cache_commits.py",
        "tests/core/test_cache_metrics.py",
    ],
    "use_nginx": [
        "bin/replacement.py",
        "nginx/configure.sh",
        "nginx/healthcheck.sh",
        "nginx/kustomization.yaml",
        "nginx/nginx.conf.template",
        "nginx/problem.html",
        "nginx/problem.json",
        "nginx/reload.sh",
        "nginx/servers.sh",
        "nginx/start.sh",
        "tests/test_nginx_settings.py",
    ],
    "use_worker": [
        "config/celery.py",
        "deploy/kubernetes/worker.yaml",
        "docs/jobs.md",
        PACKAGE / "make_celery.py",
        PACKAGE / "tasks.py",
        PACKAGE / "core/worker.py",
        "tests/core/test_worker.py",
        "tests/core/test_queue.py",
        "tests/core/test_queue_settings.py",
        "tests/core/test_queue_metrics.py",
        "tests/test_tasks.py",
    ],
    "use_metrics": [
        "deploy/kubernetes/metrics.yaml",
        "docs/monitor.md",
        "grafana/dashboard.json",
        "prometheus/alerts.yaml",
        "prometheus/alerts_test.yaml",
        "prometheus/prometheus.yml",
        PACKAGE / "core/metrics.py",
        "tests/core/test_cache_metrics.py",
        "tests/core/test_metrics.py",
        "tests/core/test_metrics_gauges.py",
        "tests/core/test_metrics_pods.py",
        "tests/core/test_database_metrics.py",
        "tests/core/test_queue_metrics.py",
    ],
    "use_openapi": [
        PACKAGE / "core/openapi.py",
        PACKAGE / "templates/openapi.html",
        "schemathesis.toml",
        "tests/core/test_openapi.py",
        "tests/core/templates/base.html",
    ],
    "use_accounts": [
        "docs/accounts.md",
        PACKAGE / "account.py",
        PACKAGE / "core/accounts.py",
        PACKAGE / "core/credentials.py",
        PACKAGE / "core/limits.py",
        PACKAGE / "core/mail.py",
        PACKAGE / "migrations/0002_create_accounts.py",
        PACKAGE / "templates/security/_macros.html",
        PACKAGE / "templates/security/_menu.html",
        PACKAGE / "templates/security/_messages.html",
        PACKAGE / "templates/security/account.html",
        PACKAGE / "templates/security/base.html",
        PACKAGE / "templates/security/delete.html",
        PACKAGE / "templates/security/email/address_changed.txt",
        PACKAGE / "templates/security/email/change_email_instructions.txt",
        PACKAGE / "templates/security/email/change_notice.txt",
        PACKAGE / "templates/security/email/confirmation_instructions.txt",
        PACKAGE / "templates/security/email/reset_instructions.txt",
        PACKAGE / "templates/security/email/reset_notice.txt",
        PACKAGE / "templates/security/email/two_factor_rescue.txt",
        PACKAGE / "templates/security/email/welcome.txt",
        PACKAGE / "templates/security/email/welcome_existing.txt",
        PACKAGE / "templates/security/two_factor_setup.html",
        PACKAGE / "templates/security/two_factor_verify_code.html",
        PACKAGE / "users.py",
        "tests/core/test_mail.py",
        "tests/people.py",
        "tests/test_account.py",
        "tests/test_account_forms.py",
        "tests/test_account_limits.py",
        "tests/test_account_passwords.py",
        "tests/test_account_sessions.py",
        "tests/test_accounts.py",
        "tests/test_second_factor.py",
    ],
    "use_tls": [
        "caddy/Caddyfile",
        "caddy/healthcheck.sh",
        "caddy/start.sh",
        "tests/test_caddy_settings.py",
    ],
    "use_postgres or use_openapi": [
        PACKAGE / "core/api.py",
        PACKAGE / "core/pages.py",
        "tests/core/test_api.py",
        "tests/core/test_pages.py",
    ],
    "frontend or use_tailwind": [
        "assets/.npmrc",
        "assets/build.mjs",
        "assets/css/app.css",
        "assets/js/app.js",
        "assets/package.json",
        "docs/frontend.md",
    ],
}
# The folders in assets/variants/, each with the files of one front end
FRONT_ENDS = ["htmx", "hotwire", "alpine", "vue", "react", "jquery"]
# Where these files belong
PLACES = {
    ".html": PACKAGE / "templates",
    ".js": Path("assets/js"),
    ".jsx": Path("assets/js"),
    ".vue": Path("assets/js"),
}
LOCK_SECONDS = 60


def prune(answers, root=Path()):
    """Delete the paths of declined options."""
    for owner, paths in OWNED.items():
        if is_declined(owner, answers):
            for path in paths:
                delete(root / path)


def is_declined(owner, answers):
    """Return whether all options of an owner, such as "use_a or use_b", are declined."""
    return all(answers[option] in (False, "none") for option in owner.split(" or "))


def delete(file):
    """Delete a file, and its folders if nothing else is in them."""
    file.unlink(missing_ok=True)
    delete_empty(file.parent)


def delete_empty(folder):
    """Delete a folder if nothing is in it, and then those around it."""
    while folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def choose_frontend(answers, root=Path()):
    """Move the files of the chosen front end to their places."""
    variants = root / "assets/variants"
    if answers["frontend"] != "none":
        (root / "assets/js/app.js").unlink()  # each front end has its own
        for file in (variants / answers["frontend"]).iterdir():
            file.replace(root / PLACES[file.suffix] / file.name)
    for folder in FRONT_ENDS:
        shutil.rmtree(variants / folder)
    delete_empty(variants)
    style = root / PACKAGE / "static/style.css"
    if not is_declined("frontend or use_tailwind", answers):
        style.replace(root / "assets/css/style.css")


def write_env():
    """Create .env with the program of the project that ``make env`` runs."""
    runpy.run_path("bin/env")["write"](Path.cwd())


def lock(answers):
    """Write the lock files, and return what is missing and the program that it needs."""
    commands = {"uv.lock": ["uv", "lock", "--quiet"]}
    if not is_declined("frontend or use_tailwind", answers):
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
    address = f"http://127.0.0.1:{answers['__published_port']}"
    lines = [
        f"{answers['project_slug']} is ready:",
        f"  cd {answers['project_slug']}",
        f"  make up     # start the service in Docker, on {address}",
        "  make run    # start it without Docker, on http://127.0.0.1:8000",
        "  make help   # list all commands",
    ]
    for file, program in missing.items():
        lines.append(
            f"{file} is missing (it needs {program} and a network connection): run `make lock`."
        )
    return "\n".join(lines)


def main():
    """Complete the project; if a file cannot be written, say which."""
    try:
        prune(ANSWERS)
        choose_frontend(ANSWERS)
        write_env()
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        sys.exit(
            f"{PACKAGE} is not complete: {error.strerror}{where}. Correct this, and try again."
        )
    print(next_steps(ANSWERS, lock(ANSWERS)))


if __name__ == "__main__":
    main()
