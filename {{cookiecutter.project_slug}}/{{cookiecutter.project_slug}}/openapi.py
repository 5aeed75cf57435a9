"""``/openapi.json`` describes the API; in development, ``/openapi`` shows it as a page.

To describe a view, add its endpoint to ``VIEWS``. The first line of its docstring is its summary.
"""

import re
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, current_app, render_template
from marshmallow import Schema, fields
from marshmallow.validate import OneOf
from werkzeug.routing import Rule
{% if cookiecutter.use_postgres %}

from . import api
from .notes import NoteSchema
{% endif %}


class HealthSchema(Schema):
    status = fields.String(required=True, validate=OneOf(["ok", "failing"]))
    checks = fields.Dict(fields.String(), fields.String(validate=OneOf(["ok", "failing"])))


class ProblemSchema(Schema):
    type, status = fields.String(required=True), fields.Integer(required=True)
    title, detail, errors = fields.String(), fields.String(), fields.Dict()

{% if cookiecutter.use_postgres %}

class NotesSchema(api.PageSchema):
    items = fields.List(fields.Nested(NoteSchema), required=True)

{% endif %}

# The schemas of the query parameters, the JSON body, and the JSON response for each status
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
VARIABLE = re.compile(r"<(?:(\w+)(\(.*?\))?:)?(\w+)>")  # in the path of a route


def init_app(app: Flask) -> None:
    """Serve the document, and in development the page."""
    app.add_url_rule("/openapi.json", "openapi", document)
    if not app.config["PRODUCTION"]:

        @app.get("/openapi")
        def openapi_page() -> str:
            return render_template("openapi.html", **document())


def document() -> dict[str, Any]:
    """Describe all ``VIEWS``."""
    config, plugin = current_app.config, MarshmallowPlugin()
    info = {"description": config["SERVICE_DESCRIPTION"], "license": LICENSE}
    options = {"info": info, "security": [], "servers": [{"url": "/"}]}
    spec = APISpec(config["SERVICE_NAME"], "1.0.0", "3.1.0", [plugin], **options)
{% if cookiecutter.use_postgres %}
    plugin.converter.add_attribute_function(pattern)  # type: ignore[union-attr]
{% endif %}
    problem = {"application/problem+json": {"schema": ProblemSchema}, "text/html": {}}
    spec.components.response("Problem", {"description": "An error", "content": problem})
    for rule in (rule for name in VIEWS for rule in current_app.url_map.iter_rules(name)):
        methods = {method.lower() for method in rule.methods or ()} - {"head", "options"}
        operations = {method: operation(rule, method) for method in methods}
        spec.path(VARIABLE.sub(r"{\3}", rule.rule), operations=operations)
    return spec.to_dict()

{% if cookiecutter.use_postgres %}

def pattern(_: Any, field: fields.Field[Any], **__: Any) -> dict[str, str]:
    """Describe ``api.storable``."""
    return {"pattern": r"^[^\u0000]*$"} if api.storable in field.validators else {}

{% endif %}

def operation(rule: Rule, method: str) -> dict[str, Any]:
    """Describe a method of a view."""
    view, function = VIEWS[rule.endpoint], current_app.view_functions[rule.endpoint]
    parameters: list[Any] = [{"in": "query", "schema": view["query"]}] if "query" in view else []
    for converter, options, name in VARIABLE.findall(rule.rule):
        limits = {f"{end}imum": int(value) for end, value in re.findall(r"(m..)=(\d+)", options)}
        schema = {"type": "integer" if converter == "int" else "string", **limits}
        parameters.append({"in": "path", "name": name, "schema": schema})
    responses: dict[Any, Any] = {"4XX": "Problem", "5XX": "Problem"}
    for status, schema in view["responses"].items():
        responses[status] = {"description": HTTPStatus(status).phrase, **content(schema)}
    return {
        "operationId": f"{rule.endpoint}.{method}",
        "summary": (function.__doc__ or rule.endpoint).split("\n")[0].replace("``", ""),
        "parameters": parameters,
        "responses": responses,
        **({"requestBody": {"required": True, **content(view["body"])}} if "body" in view else {}),
    }


def content(schema: Any) -> dict[str, Any]:
    """Describe a JSON body, or an empty one."""
    return {"content": {"application/json": {"schema": schema}}} if schema else {}
