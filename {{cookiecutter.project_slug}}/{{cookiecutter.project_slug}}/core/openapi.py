"""``/openapi.json`` describes the API; in development, ``/openapi`` shows it as a page.

The decorators of each view describe it. This module adds errors and health checks.
"""

from http import HTTPStatus
from typing import Any

from apispec import BasePlugin
from flask import Flask, render_template
from marshmallow import Schema, fields
from werkzeug.routing import Rule

from .api import ProblemSchema, api

ERROR = {
    "description": "A problem document, or a page for browsers",
    "content": {"application/problem+json": {"schema": ProblemSchema}, "text/html": {}},
}


class HealthSchema(Schema):
    status = fields.String(required=True)
    checks = fields.Dict()


class Details(BasePlugin):
    """Adds to each operation a name, which generators of clients use, and the errors."""

    def operation_helper(
        self, path: str | None = None, operations: Any = None, **context: Any
    ) -> None:
        """Complete the operations of a path."""
        for method, operation in operations.items():
            operation["operationId"] = f"{context['rule'].endpoint}.{method}"
            operation["responses"].setdefault("4XX", "DEFAULT_ERROR")


def init_app(app: Flask) -> None:
    """Describe what no decorator describes, and in development serve the page."""
    api.spec.plugins.append(Details())
    # The names with which Flask-Smorest refers to errors: any error, and invalid arguments
    for name in ("DEFAULT_ERROR", HTTPStatus.UNPROCESSABLE_ENTITY.name):
        api.spec.components.response(name, ERROR, lazy=True)
    for rule in app.url_map.iter_rules("health.livez"):
        describe_health(rule, "Check that the process responds", 200)
    for rule in app.url_map.iter_rules("health.readyz"):
        describe_health(rule, "Check the dependencies", 200, 503)
    if not app.config["PRODUCTION"]:
        app.add_url_rule("/openapi", "openapi", page)


def describe_health(rule: Rule, summary: str, *statuses: int) -> None:
    """Describe a view of ``health.py``."""
    content = {"application/json": {"schema": HealthSchema}}
    responses: dict[Any, Any] = {"default": "DEFAULT_ERROR"}
    for status in statuses:
        responses[status] = {"description": HTTPStatus(status).phrase, "content": content}
    operation = {"summary": summary, "tags": ["health"], "responses": responses}
    api.spec.path(rule=rule, operations={"get": operation})


def page() -> str:
    """Show the document."""
    return render_template("openapi.html", **api.spec.to_dict())
