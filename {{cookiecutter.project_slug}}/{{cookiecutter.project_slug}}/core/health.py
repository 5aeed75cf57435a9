"""``/livez``: the process responds; ``/readyz``: its dependencies respond too.

Each dependency registers its own check: ``health.add_check(app, "mail", client.ping)``.
"""

import logging
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, current_app
from flask.typing import ResponseReturnValue

bp = Blueprint("health", __name__)
logger = logging.getLogger(__name__)


def add_check(app: Flask, name: str, check: Callable[[], Any]) -> None:
    """Make ``/readyz`` call ``check``, which raises an exception if the service is unavailable."""
    app.extensions.setdefault("health", {})[name] = check


@bp.get("/livez")
def livez() -> ResponseReturnValue:
    """Check no dependency: a restart would not repair it."""
    return {"status": "ok"}


@bp.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Run all checks, and return 503 if one fails."""
    registered = current_app.extensions.get("health", {})
    checks = {name: run(name, check) for name, check in registered.items()}
    if "failing" in checks.values():
        return {"status": "failing", "checks": checks}, 503
    return {"status": "ok", "checks": checks}, 200


def run(name: str, check: Callable[[], Any]) -> str:
    """Return ``ok`` or ``failing``; the reason is logged, but not shown to clients."""
    try:
        check()
        return "ok"
    except Exception as error:
        logger.warning("%s is not ready: %s", name, error)
        return "failing"
