{% from "quotes.jinja" import python_string %}
"""All settings, read once from the environment; ``.env.example`` explains them.

If settings are invalid, the process exits here, with one line for each.
"""

import os
import re
import sys
{% if cookiecutter.use_accounts %}
from base64 import urlsafe_b64encode
{% endif %}
from collections.abc import Callable
from datetime import timedelta
{% if cookiecutter.use_accounts %}
from hashlib import sha256
{% endif %}
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from environs import EnvValidationError, FileAwareEnv, ValidationError, validate

# example.com, or .example.com for all subdomains too
host_name = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
env = FileAwareEnv(eager=False, strip_whitespace=True)
invalid: dict[str, list[str]] = {}  # the end of this file adds what env has refused
required: Any = ...  # environs: the variable has no default


def read(method: Callable[..., Any], name: str, *default: Any, **options: Any) -> Any:
    """Read a variable, or the file in ``NAME_FILE``; an unreadable file is an invalid setting."""
    try:
        return method(name, *default, **options)
    except (OSError, ValueError):
        invalid[name] = [f"{name}_FILE must be the path of a text file that can be read."]
        return None  # the process exits at the end of this file


def number(
    name: str, *, default: int | None, lowest: int, highest: int, what: str = "number"
) -> Any:
    """Read a whole number within a range; the error calls it ``what``."""
    error = f"Must be a {what} from {lowest} to {highest}."
    within = validate.Range(lowest, highest, error=error)
    messages = {"invalid": error}
    return read(env.int, name, default, validate=within, error_messages=messages)


def in_development(value: Any) -> Any:
    """Return a default for development; in production, the variable is required."""
    return required if PRODUCTION else value


def validate_keys(*keys: str) -> None:
    """Reject empty keys, and in production weak ones."""
    for key in keys:
        if not key or (PRODUCTION and is_weak(key)):
            raise ValidationError("Must be at least 32 random characters. `make env` writes them.")


def is_weak(key: str) -> bool:
    """Return whether a key is short, uniform, or an example."""
    examples = ("change", "example", "secret")
    return len(key) < 32 or len(set(key)) < 10 or any(word in key.lower() for word in examples)


def validate_hosts(names: list[str]) -> None:
    """Validate host names."""
    if not names or not all(host_name.fullmatch(name) for name in names):
        raise ValidationError("Must be like example.com,.example.org: lower case, without ports.")


def validate_address(address: str) -> None:
    """Validate an IP address; one of IPv6 is between brackets."""
    try:
        ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValidationError("Must be an IP address such as 127.0.0.1.") from None


{% if cookiecutter.use_accounts %}
# A password only with TLS; the host or an [IPv6 address], the port
mail_url = re.compile(r"(smtps?://([^@/]*@)?|smtp\+insecure://)(\[[^\]]+\]|[^@/:]+)(:\d+)?")


def validate_mail_url(url: str) -> None:
    """Validate the URL of an SMTP server, which may be empty in development."""
    if not mail_url.fullmatch(url) and (url or PRODUCTION):
        raise ValidationError(
            "Must be like smtps://user:password@mail.example.com or smtp+insecure://host:25."
        )


def fernet_key(secret: str) -> bytes:
    """Return a key for Fernet, which encrypts the recovery codes."""
    return urlsafe_b64encode(sha256(secret.encode()).digest())


{% endif %}
{% if cookiecutter.use_redis or cookiecutter.use_worker %}
# The user and the password, the host or an [IPv6 address], the port, a number, the options.
# Regexp() compares from the beginning of the text, and $ is its end.
valid_redis = validate.Regexp(
    r"rediss?://([^@/]*@)?(\[[^\]]+\]|[^@/:]+)(:\d+)?(/\d*)?(\?.*)?$",
    error="Must be like redis://:password@host:6379/0.",
)

{% endif %}
# Shown on the pages
SERVICE_NAME = {{ python_string(cookiecutter.project_name) | trim }}
SERVICE_DESCRIPTION = {{ python_string(cookiecutter.description) | trim }}

# .env is read unless the environment says that this is production. Where neither of them contains
# APP_ENV, it is production.
if os.environ.get("APP_ENV") in (None, "development"):
    env.read_env(Path(__file__).parents[1] / ".env", recurse=False)
APP_ENV = read(
    env.str, "APP_ENV", "production", validate=validate.OneOf(["production", "development"])
)
PRODUCTION = APP_ENV != "development"
DEBUG = read(env.bool, "FLASK_DEBUG", False)
if DEBUG and PRODUCTION:  # it would show internals to users
    invalid["FLASK_DEBUG"] = ["Must be off in production."]

# Sessions
SECRET_KEY = read(env.str, "SECRET_KEY", validate=validate_keys)
SECRET_KEY_FALLBACKS = read(
    env.list,
    "SECRET_KEY_FALLBACKS",
    [],
    subcast=str.strip,
    validate=lambda keys: validate_keys(*keys),
)
SESSION_COOKIE_NAME = "__Host-session" if PRODUCTION else "session"
SESSION_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_SAMESITE = "Lax"
PERMANENT_SESSION_LIFETIME = timedelta(hours=12)

# Requests
TRUSTED_HOSTS = read(
    env.list,
    "TRUSTED_HOSTS",
    in_development(["localhost", "127.0.0.1"]),
    subcast=str.strip,
    validate=validate_hosts,
)
TRUSTED_PROXIES = number("TRUSTED_PROXIES", default=0, lowest=0, highest=8)
MAX_CONTENT_LENGTH = number(
    "MAX_CONTENT_LENGTH", default=1_048_576, lowest=1, highest=2**40, what="number of bytes"
)
STATIC_HOST = read(
    env.str,
    "STATIC_HOST",
    "",
    validate=validate.Regexp(r"(https?://[^/\s]+)?$", error="Must be like https://example.com."),
)

# Logs
LOG_LEVEL = read(
    env.str,
    "LOG_LEVEL",
    "INFO",
    validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
)
LOG_FORMAT = read(
    env.str,
    "LOG_FORMAT",
    "json" if PRODUCTION else "console",
    validate=validate.OneOf(["json", "console"]),
)

# The server
PORT = number("PORT", default=8000, lowest=1, highest=65_535, what="port")
WEB_CONCURRENCY = number("WEB_CONCURRENCY", default=None, lowest=1, highest=64)
WEB_THREADS = number("WEB_THREADS", default=8, lowest=1, highest=256)
GRACEFUL_TIMEOUT = number(
    "GRACEFUL_TIMEOUT", default=30, lowest=1, highest=3_600, what="number of seconds"
)

{% if cookiecutter.use_nginx %}
# Only other services use these. They are read to be checked with the others.
{% elif cookiecutter.use_tls or cookiecutter.use_worker %}
# Only other services use these. They are read to be checked with the others.
{% else %}
# Only Compose uses this. It is read to be checked with the others.
{% endif %}
BIND_ADDRESS = read(env.str, "BIND_ADDRESS", "127.0.0.1", validate=validate_address)
{% if cookiecutter.use_nginx %}
WEB_REPLICAS = number("WEB_REPLICAS", default=1, lowest=1, highest=32)
HTTP_PORT = number("HTTP_PORT", default=8080, lowest=1, highest=65_535, what="port")
RATE_LIMIT = read(
    env.str,
    "RATE_LIMIT",
    "50r/s",
    validate=validate.Regexp(r"[1-9][0-9]{0,8}r/[sm]$", error="Must be like 50r/s or 600r/m."),
)
RATE_BURST = number(
    "RATE_BURST", default=100, lowest=0, highest=1_000_000, what="number of requests"
)
{% endif %}
{% if cookiecutter.use_tls %}
ACME_CA = read(
    env.str,
    "ACME_CA",
    "https://acme-v02.api.letsencrypt.org/directory",
    validate=validate.Regexp(r"https://\S+$", error="Must be a URL that begins with https://."),
)
ACME_EMAIL = read(
    env.str,
    "ACME_EMAIL",
    "",
    validate=validate.Regexp(r"([^@\s]+@[^@\s]+)?$", error="Must be like you@example.com."),
)
{% endif %}
{% if cookiecutter.use_worker %}
WORKER_CONCURRENCY = number("WORKER_CONCURRENCY", default=2, lowest=1, highest=64)
{% endif %}
{% if cookiecutter.use_openapi %}

# The OpenAPI document: https://flask-smorest.readthedocs.io/en/latest/openapi.html
API_TITLE = SERVICE_NAME
API_SPEC_OPTIONS = {
    "info": {
        "description": SERVICE_DESCRIPTION,
        "license": {
            "name": "{{ cookiecutter.__spdx_license }}",
            "identifier": "{{ cookiecutter.__spdx_license }}",
        },
    },
{% if cookiecutter.use_accounts %}
    "components": {
        "securitySchemes": {
            "token": {"type": "apiKey", "in": "header", "name": "Authentication-Token"},
        },
    },
{% endif %}
    "security": [],
    "servers": [{"url": "/"}],
}
OPENAPI_URL_PREFIX = "/"  # of openapi.json
{% endif %}
{% if cookiecutter.use_postgres %}

# PostgreSQL; in development, the default is a SQLite file under instance/
DATABASE_URL = read(
    env.str,
    "DATABASE_URL",
    in_development("sqlite:///{{ cookiecutter.project_slug }}.db"),
    # The user and the password, the host or an [IPv6 address], the port, the database
    validate=validate.Regexp(
        r"sqlite:|postgresql(\+psycopg)?://([^@/]*@)?(\[[^\]]+\]|[^@/:]*)(:\d+)?/.",
        error="Must be like postgresql+psycopg://user:password@host:5432/name.",
    ),
)
{% endif %}
{% if cookiecutter.use_redis %}

# Redis; in development, the default is the memory of the process
REDIS_URL = read(env.str, "REDIS_URL", in_development(None), validate=valid_redis)
{% if cookiecutter.use_metrics %}
CACHE_ENABLE_SIGNALS = True  # for core/metrics.py
{% endif %}
{% endif %}
{% if cookiecutter.use_worker %}

# The queue of background jobs; if unset in development, jobs run in the process that enqueues them
QUEUE_URL = read(env.str, "QUEUE_URL", in_development(None), validate=valid_redis)
{% endif %}
{% if cookiecutter.use_metrics %}

# The token of /metrics; if unset in development, none is needed
METRICS_TOKEN = read(env.str, "METRICS_TOKEN", in_development(None), validate=validate_keys)
{% endif %}
{% if cookiecutter.use_accounts %}

# E-mail; if unset in development, mails are logged
MAIL_URL = read(env.str, "MAIL_URL", in_development(""), validate=validate_mail_url)
MAIL_FROM = read(
    env.str,
    "MAIL_FROM",
    in_development("service@localhost"),
    validate=validate.Regexp(r"[^@\s<>]+@[^@\s<>]+$", error="Must be like shop@example.com."),
)

# Accounts: https://flask-security.readthedocs.io/en/stable/configuration.html
ACCOUNTS_KEY = read(env.str, "ACCOUNTS_KEY", in_development("development"), validate=validate_keys)
ACCOUNT_LIMITS = {  # how many, in how many seconds
    "address": (100, 900),  # attempts of a client
    "account": (10, 900),  # attempts to log in to one account
    "mail": (3, 3_600),  # mails to one address
}
REMEMBER_COOKIE_NAME = "__Host-remember" if PRODUCTION else "remember"
REMEMBER_COOKIE_SECURE = PRODUCTION
REMEMBER_COOKIE_SAMESITE = "Lax"
REMEMBER_COOKIE_DURATION = timedelta(days=30)
WTF_CSRF_CHECK_DEFAULT = False  # core/accounts.py checks, if a session is used
SECURITY_URL_PREFIX = "/account"
SECURITY_STATIC_FOLDER = None
SECURITY_CACHE_CONTROL = None  # its header is invalid; core/security.py sends no-store
SECURITY_POST_LOGIN_VIEW = "/account"
SECURITY_POST_LOGOUT_VIEW = "/account/login"
SECURITY_POST_REGISTER_VIEW = "/account/login"
SECURITY_REGISTERABLE = True
SECURITY_CONFIRMABLE = True
SECURITY_CONFIRM_EMAIL_WITHIN = timedelta(hours=1)
SECURITY_RECOVERABLE = True
SECURITY_RESET_PASSWORD_WITHIN = timedelta(hours=1)
SECURITY_CHANGEABLE = True
SECURITY_CHANGE_EMAIL = True
SECURITY_CHANGE_EMAIL_WITHIN = timedelta(hours=1)
SECURITY_TWO_FACTOR = True
SECURITY_TWO_FACTOR_ENABLED_METHODS = ["authenticator"]
SECURITY_TWO_FACTOR_RESCUE_EMAIL = False  # a mailbox is no second factor
SECURITY_TWO_FACTOR_RESCUE_MAIL = MAIL_FROM
SECURITY_MULTI_FACTOR_RECOVERY_CODES = True
SECURITY_MULTI_FACTOR_RECOVERY_CODES_KEYS = [fernet_key(str(ACCOUNTS_KEY))]
SECURITY_TOTP_ISSUER = SERVICE_NAME
SECURITY_TOTP_SECRETS = {"1": ACCOUNTS_KEY}
SECURITY_RETURN_GENERIC_RESPONSES = True  # they do not tell who has an account
SECURITY_FRESHNESS = timedelta(minutes=15)  # then, what is sensitive needs the password again
SECURITY_FRESHNESS_GRACE_PERIOD = timedelta(0)  # each use of such a view would extend it
SECURITY_TOKEN_MAX_AGE = PERMANENT_SESSION_LIFETIME
SECURITY_API_ENABLED_METHODS = ["session"]  # a token cannot change the account
SECURITY_CSRF_PROTECT_MECHANISMS = ["session"]
SECURITY_LOGOUT_CSRF = True
SECURITY_PASSWORD_SALT = ACCOUNTS_KEY
SECURITY_PASSWORD_LENGTH_MIN = 10
SECURITY_PASSWORD_COMPLEXITY_CHECKER = "zxcvbn"  # noqa: S105 it rejects common passwords
SECURITY_PASSWORD_SCHEMES = ["argon2"]
# Recommended by OWASP: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS = {
    "argon2__memory_cost": 19_456,  # KiB
    "argon2__time_cost": 2,
    "argon2__parallelism": 1,
}
SECURITY_HASHING_SCHEMES = ["hex_sha256"]  # of an address in a link; the default takes 0.3 s
SECURITY_EMAIL_SENDER = MAIL_FROM
SECURITY_EMAIL_HTML = False
SECURITY_EMAIL_VALIDATOR_ARGS = {"check_deliverability": False}  # it would ask the DNS
SECURITY_JOIN_USER_ROLES = False
SECURITY_CLI_ROLES_NAME = ""
{% endif %}

try:
    env.seal()
except EnvValidationError as error:
    invalid.update(error.error_messages)  # type: ignore[arg-type]
if invalid:
    problems = [f"  {name}: {' '.join(reasons)}" for name, reasons in invalid.items()]
    sys.exit("\n".join(["Invalid settings (see .env.example):", *problems]))
