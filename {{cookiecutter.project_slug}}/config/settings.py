"""All settings, read once from the environment; ``.env.example`` explains them.

If settings are invalid, the process exits here, with one line for each.
"""

import os
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from environs import EnvValidationError, FileAwareEnv, ValidationError, validate

HOST = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
env = FileAwareEnv(eager=False, strip_whitespace=True)
invalid: dict[str, list[str]] = {}


def secret(read: Callable[..., Any], name: str, *default: Any, **options: Any) -> Any:
    """Read a variable, or the file in ``NAME_FILE``; an unreadable file is an invalid setting."""
    try:
        return read(name, *default, **options)
    except ValueError as error:
        invalid[name] = [str(error)]


def in_development(value: Any) -> Any:
    """Return a default for development; in production, the variable is required."""
    return ... if PRODUCTION else value


def strong(*keys: str) -> None:
    """Reject weak keys."""
    for key in keys:
        example = any(word in key.lower() for word in ("change", "example", "secret"))
        if not key or (PRODUCTION and (len(key) < 32 or len(set(key)) < 10 or example)):
            raise ValidationError("Must be at least 32 random characters. `make env` writes them.")


def hosts(names: list[str]) -> None:
    """Validate host names."""
    if not names or not all(HOST.fullmatch(name) for name in names):
        raise ValidationError("Must be like example.com,.example.org: lower case, without ports.")


{% if cookiecutter.use_redis or cookiecutter.use_worker %}
valid_redis = validate.Regexp(
    r"rediss?://([^@/]*@)?(\[[^\]]+\]|[^@/:]+)(:\d+)?(/\d*)?(\?.*)?$",
    error="Must be like redis://:password@host:6379/0.",
)

{% endif %}
# Shown on the pages
SERVICE_NAME = {{ cookiecutter.__python_name }}
SERVICE_DESCRIPTION = {{ cookiecutter.__python_description }}

# The environment
if os.environ.get("APP_ENV", "development") == "development":
    env.read_env(Path(__file__).parents[1] / ".env", recurse=False)
APP_ENV = env.str("APP_ENV", "production", validate=validate.OneOf(["production", "development"]))
PRODUCTION = APP_ENV != "development"
DEBUG = env.bool("FLASK_DEBUG", False)
if DEBUG and PRODUCTION:  # it would show internals to users
    invalid["FLASK_DEBUG"] = ["Must be off in production."]

# Sessions
SECRET_KEY = secret(env.str, "SECRET_KEY", validate=strong)
SECRET_KEY_FALLBACKS = secret(
    env.list, "SECRET_KEY_FALLBACKS", [], subcast=str.strip, validate=lambda keys: strong(*keys)
)
SESSION_COOKIE_NAME = "__Host-session" if PRODUCTION else "session"
SESSION_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_SAMESITE = "Lax"
PERMANENT_SESSION_LIFETIME = timedelta(hours=12)

# Requests
TRUSTED_HOSTS = env.list(
    "TRUSTED_HOSTS", in_development(["localhost", "127.0.0.1"]), subcast=str.strip, validate=hosts
)
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0, validate=validate.Range(0, 8))
MAX_CONTENT_LENGTH = env.int("MAX_CONTENT_LENGTH", 1_048_576, validate=validate.Range(1))
STATIC_HOST = env.str(
    "STATIC_HOST",
    "",
    validate=validate.Regexp(r"(https?://[^/\s]+)?$", error="Must be like https://example.com."),
)

# Logs
LOG_LEVEL = env.str(
    "LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
)
LOG_FORMAT = env.str(
    "LOG_FORMAT", "json" if PRODUCTION else "console", validate=validate.OneOf(["json", "console"])
)

# The server
PORT = env.int("PORT", 8000, validate=validate.Range(1, 65_535))
WEB_CONCURRENCY = env.int("WEB_CONCURRENCY", None, validate=validate.Range(1, 64))
WEB_THREADS = env.int("WEB_THREADS", 8, validate=validate.Range(1, 256))
GRACEFUL_TIMEOUT = env.int("GRACEFUL_TIMEOUT", 30, validate=validate.Range(1, 3_600))
{% if cookiecutter.use_postgres %}

# PostgreSQL; in development, the default is a SQLite file under instance/
DATABASE_URL = secret(
    env.str,
    "DATABASE_URL",
    in_development("sqlite:///{{ cookiecutter.project_slug }}.db"),
    validate=validate.Regexp(
        r"sqlite:|postgresql(\+psycopg)?://([^@/]*@)?(\[[^\]]+\]|[^@/:]*)(:\d+)?/.",
        error="Must be like postgresql+psycopg://user:password@host:5432/name.",
    ),
)
{% endif %}
{% if cookiecutter.use_redis %}

# Redis; in development, the default is the memory of the process
REDIS_URL = secret(env.str, "REDIS_URL", in_development(None), validate=valid_redis)
{% if cookiecutter.use_metrics %}
CACHE_ENABLE_SIGNALS = True  # for metrics.py
{% endif %}
{% endif %}
{% if cookiecutter.use_worker %}

# The queue of background jobs; in development, jobs run in the process that enqueues them
QUEUE_URL = secret(env.str, "QUEUE_URL", in_development(None), validate=valid_redis)
{% endif %}
{% if cookiecutter.use_metrics %}

# /metrics; in development, it needs no token
METRICS_TOKEN = secret(env.str, "METRICS_TOKEN", in_development(None), validate=strong)
{% endif %}

try:
    env.seal()
except EnvValidationError as error:
    invalid.update(error.error_messages)  # type: ignore[arg-type]
if invalid:
    problems = [f"  {name}: {' '.join(reasons)}" for name, reasons in invalid.items()]
    sys.exit("\n".join(["Invalid settings (see .env.example):", *problems]))
