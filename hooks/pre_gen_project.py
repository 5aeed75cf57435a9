"""Reject answers from which no working project can be generated, with a sentence for each."""

import json
import keyword
import re
import shlex
import shutil
import sys

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

LONGEST_SLUG = 40
SPACE = 2_000_000  # bytes on the disk, for all options
EMAIL_WORD = r'[^@\s"\\<>()\[\],;:.]+'
# Modules of the standard library that the running version of Python may lack
NEW_MODULES = {"annotationlib", "compression", "test"}
# Names that Windows reserves for devices
DEVICES = {"aux", "con", "nul", "prn"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in range(10)
}
# Names that PostgreSQL reserves, and words that YAML does not read as strings
WORDS = {"none", "public", "template0", "template1"} | {"false", "null", "true"}
# What the generated project imports or runs, and its own directories and modules
PROJECT_MODULES = {
    "alembic", "amqp", "apispec", "argon2", "argon2_cffi", "argon2_cffi_bindings", "asgiref",
    "assets", "ast_serialize", "async_timeout", "backups", "billiard", "bin", "blinker", "cachelib",
    "caddy", "celery", "cffi", "checks", "click", "click_didyoumean", "click_plugins", "click_repl",
    "colorama", "commands", "config", "coverage", "cryptography", "databases", "dateutil", "deploy",
    "dns", "dnspython", "docs", "dotenv", "email_validator", "environs", "flask", "flask_alembic",
    "flask_caching", "flask_debugtoolbar", "flask_login", "flask_principal", "flask_security",
    "flask_smorest", "flask_sqlalchemy_lite", "flask_wtf", "grafana", "greenlet", "gunicorn",
    "hiredis", "idna", "images", "iniconfig", "instance", "itsdangerous", "jinja2", "kombu",
    "libpass", "librt", "locustfile", "mako", "markupsafe", "marshmallow", "mypy", "mypy_extensions", "mypyc",
    "nginx", "packaging", "passlib", "pathspec", "pip", "pluggy", "postgres", "programs",
    "prometheus", "prometheus_client", "prompt_toolkit", "psycopg", "psycopg_binary", "py",
    "pycparser", "pygments", "pytest", "pytest_cov", "python_dateutil", "python_dotenv",
    "python_json_logger", "pythonjsonlogger", "qrcode", "redis", "replacement", "ruff", "services",
    "setuptools", "six", "sqlalchemy", "tests", "typing_extensions", "tzdata", "tzlocal", "uv",
    "vine", "wcwidth", "webargs", "werkzeug", "whitenoise", "wtforms", "zxcvbn",
}  # fmt: skip


def check_slug(slug):
    """Return what is wrong with the name of the package, or None."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(__?[a-z0-9]+)*", slug):
        return (
            f"project_slug {slug!r} has to start with a lower-case letter, and may contain only "
            "a-z, 0-9 and, between them, _, for example 'my_service'."
        )
    if len(slug) > LONGEST_SLUG:
        return f"project_slug has {len(slug)} characters: at most {LONGEST_SLUG} are allowed."
    if keyword.iskeyword(slug) or keyword.issoftkeyword(slug):
        return f"project_slug {slug!r} is a keyword of Python: choose another name."
    if slug in {*sys.stdlib_module_names, *NEW_MODULES, *PROJECT_MODULES}:
        return f"project_slug {slug!r} is the name of another module: choose another name."
    if slug in WORDS or slug.startswith("pg_"):
        return f"project_slug {slug!r} is reserved in PostgreSQL or YAML: choose another name."
    if slug in DEVICES:
        return f"project_slug {slug!r} is reserved on Windows: choose another name."
    return None


def check_email(address):
    """Return what is wrong with the e-mail address, or None."""
    if re.fullmatch(rf"{EMAIL_WORD}(\.{EMAIL_WORD})*@{EMAIL_WORD}(\.{EMAIL_WORD})+", address):
        return None
    return f"author_email {address!r} is not an e-mail address such as 'you@example.com'."


def check_accounts(answers):
    """Return that accounts need a database, or None."""
    if answers["use_accounts"] and not answers["use_postgres"]:
        return "use_accounts needs use_postgres, which stores the accounts: choose both or neither."
    return None


def check_line(name, text):
    """Return why an answer does not fit on one line of a text file, or None."""
    unfit = [c for c in text if not c.isprintable() and (c < " " or "\x7f" <= c <= "\x9f")]
    if unfit or any(c in "\u2028\u2029" or "\ud800" <= c <= "\udfff" for c in text):
        return f"{name} contains a line break or another control character: enter one line."
    return None


def check_space(folder="."):
    """Return that the disk is too full, or None; some network disks report no size."""
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < SPACE:
        return (
            f"The disk has {disk.free // 1000} kB left, and the project needs {SPACE // 1000} kB."
        )
    return None


def problems(answers):
    """Return a sentence for each problem of ``answers``."""
    # If the slug cannot be a directory name, cookiecutter.json has replaced project_slug.
    found = [check_slug(answers["__slug_as_answered"]), check_email(answers["author_email"])]
    if not answers["project_name"].strip():
        found.append("project_name is empty: enter the name of the service.")
    for name in ("project_name", "description", "author_name", "author_email"):
        found.append(check_line(name, answers[name]))
    found += [check_accounts(answers), check_space()]
    return [problem for problem in found if problem]


def again(answers, found):
    """Return the command that repeats the answers, with dots for those that were refused."""
    refused = {problem.split()[0] for problem in found}
    given = [
        f"{name}={'...' if name in refused else shlex.quote(str(answer))}"
        for name, answer in answers.items()
        if not name.startswith("_")
    ]
    template = shlex.quote(answers.get("_template", "TEMPLATE"))
    return " ".join(["cookiecutter", template, "--no-input", *given])


def main():
    """Say what is wrong with the answers, and how to keep the others."""
    if found := problems(ANSWERS):
        sys.exit("\n".join([*found, "", "This repeats your answers:", again(ANSWERS, found)]))


if __name__ == "__main__":
    main()
