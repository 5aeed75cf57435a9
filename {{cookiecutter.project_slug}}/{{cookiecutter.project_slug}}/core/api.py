"""JSON resources with Flask-Smorest: limits of a request, and problem documents.

The decorators of a view name the schemas that validate the request and convert the result:
https://flask-smorest.readthedocs.io
"""

import re
from typing import Any

import flask_smorest
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, Request, Response, abort
from marshmallow import Schema, ValidationError, fields
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import HTTPException
from werkzeug.routing import IntegerConverter, Map

from .errors import problem

LARGEST_ID = 2**31 - 1  # of an INTEGER column
# Limits of a JSON body. A note with 10,000 escaped emoji has 120 kB.
LARGEST_JSON = 131_072  # bytes
MOST_BRACKETS = 20_000  # a nested list costs 30 times what a string of its size costs
MOST_FIELDS = 100  # each unknown field costs an error message, which repeats its name
LONGEST_NAME = 100
UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and surrogates


class ProblemSchema(Schema):
    """A problem document, as RFC 9457 defines it, with the errors by field."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(allow_none=True)
    errors = fields.Dict(keys=fields.String())


class Api(flask_smorest.Api):
    """Describes the resources, and their errors."""

    ERROR_SCHEMA = ProblemSchema


api = Api()


def init_app(app: Flask) -> None:
    """Set up ``api``; views of its blueprints validate requests by their schemas."""
    required = {"title": app.name, "version": "1.0.0", "openapi_version": "3.1.0"}
    plugin = MarshmallowPlugin(schema_name_resolver=component_name)
    api.init_app(app, spec_kwargs={**required, "marshmallow_plugin": plugin})
    app.url_map.converters["id"] = IdConverter


class IdConverter(IntegerConverter):
    """The part of a path such as ``/<id:note_id>``: a number that an INTEGER column can contain."""

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map, max=LARGEST_ID)


def component_name(schema: Any) -> str:
    """Return the name of a schema for Flask-Smorest; one with ``partial`` or ``only`` has none."""
    if isinstance(schema, Schema) and (schema.partial or schema.only or schema.exclude):
        return ""  # described where it is used: two schemas of a class cannot have its name
    schema_class = schema if isinstance(schema, type) else type(schema)
    return schema_class.__name__.removesuffix("Schema")


class Parser(FlaskParser):
    """Reads the arguments of a view; JSON only if it is small enough to be validated."""

    def load_json(self, req: Request, schema: Schema) -> Any:
        """Return the JSON body of a request."""
        check_size(req.get_data())
        try:
            body = req.get_json()
        except RecursionError:
            abort(400, "The JSON is nested too deeply.")
        if isinstance(body, dict):
            check_names(body)
        return body


class Blueprint(flask_smorest.Blueprint):
    """A blueprint for a JSON resource; all its errors are problem documents."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_error_handler(HTTPException, explain)


def storable(text: str) -> None:
    """Validate that a text column can store ``text``: no NUL, and no surrogate characters."""
    if UNSTORABLE.search(text):
        raise ValidationError("Must not contain NUL or surrogate characters.")


def check_size(data: bytes) -> None:
    """Refuse JSON that takes long to parse, before it is parsed."""
    if len(data) > LARGEST_JSON:
        abort(413, f"The JSON may have at most {LARGEST_JSON} bytes.")
    if data.count(b"[") + data.count(b"{") > MOST_BRACKETS:
        abort(422, f"The JSON may have at most {MOST_BRACKETS} brackets.")


def check_names(body: dict[str, Any]) -> None:
    """Refuse an object whose error messages would be many or long."""
    if len(body) > MOST_FIELDS or any(len(name) > LONGEST_NAME for name in body):
        limits = f"{MOST_FIELDS} fields, and their names at most {LONGEST_NAME} characters"
        abort(422, f"The JSON may have at most {limits}.")


def explain(error: HTTPException) -> Response:
    """Return a problem document with the message and errors of ``flask_smorest.abort()``."""
    data: dict[str, Any] = getattr(error, "data", {})
    members = {"detail": data.get("message", error.description)}
    if "errors" in data:
        members["errors"] = data["errors"]
    if "messages" in data:  # of a schema, by the part of the request: {"json": {"title": [...]}}
        [errors] = data["messages"].values()
        members = {"detail": "Some fields are invalid.", "errors": errors}
    return problem(error, **members)
