"""``/openapi.json`` describes the API; in development, ``/openapi`` shows it as a page."""

import re
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, current_app, render_template
from marshmallow import Schema, fields
from werkzeug.routing import Rule
{% if cookiecutter.use_postgres %}

from . import api
from .notes import NoteSchema, NotesSchema
{% endif %}


class HealthSchema(Schema):
    status = fields.String(required=True)
    checks = fields.Dict()


# By endpoint: the schemas of the query, of the JSON body, and of the JSON in each response
VIEWS: dict[str, dict[str, Any]] = {
    "health.livez": {"responses": {200: HealthSchema}},
    "health.readyz": {"responses": {200: HealthSchema, 503: HealthSchema}},
{% if cookiecutter.use_postgres %}
    "notes.index": {"query": api.PageSchema, "responses": {200: NotesSchema}},
    "notes.create": {"body": NoteSchema, "responses": {201: NoteSchema}},
    "notes.show": {"responses": {200: NoteSchema}},
    "notes.remove": {"responses": {204: None}},
{% endif %}
}
LICENSE = {"name": "{{ cookiecutter.__spdx }}", "identifier": "{{ cookiecutter.__spdx }}"}
ERROR = {"application/problem+json": {"schema": {"type": "object"}}, "text/html": {}}
VARIABLE = re.compile(r"<(?:(\w+)(\(.*?\))?:)?(\w+)>")  # in the path of a route


def init_app(app: Flask) -> None:
    """Serve the document, and in development the page."""
    app.add_url_rule("/openapi.json", "openapi", document)
    if not app.config["PRODUCTION"]:
        app.add_url_rule("/openapi", "page", lambda: render_template("openapi.html", **document()))


def document() -> dict[str, Any]:
    """Describe all ``VIEWS``."""
    info = {"description": current_app.config["SERVICE_DESCRIPTION"], "license": LICENSE}
    options = {"info": info, "security": [], "servers": [{"url": "/"}]}
    name, plugins = current_app.config["SERVICE_NAME"], [MarshmallowPlugin()]
    spec = APISpec(name, "1.0.0", "3.1.0", plugins, **options)
    spec.components.response("Error", {"description": "RFC 9457, or a page", "content": ERROR})
    for rule in (rule for endpoint in VIEWS for rule in current_app.url_map.iter_rules(endpoint)):
        methods = set(rule.methods or ()) - {"HEAD", "OPTIONS"}
        operations = {method.lower(): operation(rule, method) for method in methods}
        spec.path(VARIABLE.sub(r"{\3}", rule.rule), operations=operations)
    return spec.to_dict()


def operation(rule: Rule, method: str) -> dict[str, Any]:
    """Describe a method of a view."""
    view, function = VIEWS[rule.endpoint], current_app.view_functions[rule.endpoint]
    parameters: list[Any] = [{"in": "query", "schema": view["query"]}] if "query" in view else []
    for converter, options, name in VARIABLE.findall(rule.rule):
        limits = {f"{m}imum": int(n) for m, n in re.findall(r"(min|max)=(-?\d+)", options)}
        schema = {"type": "integer" if converter == "int" else "string", **limits}
        parameters.append({"in": "path", "name": name, "schema": schema})
    responses: dict[Any, Any] = {"4XX": "Error", "5XX": "Error"}
    for status, schema in view["responses"].items():
        content = {"application/json": {"schema": schema}} if schema else {}
        responses[status] = {"description": HTTPStatus(status).phrase, "content": content}
    described = {
        "operationId": f"{rule.endpoint}.{method.lower()}",
        "summary": (function.__doc__ or rule.endpoint).split("\n")[0].replace("``", ""),
        "parameters": parameters,
        "responses": responses,
    }
    if "body" in view:
        content = {"application/json": {"schema": view["body"]}}
        described["requestBody"] = {"required": True, "content": content}
    return described
