import json
from typing import Any

import flask_smorest
import pytest
from flask import Flask
from flask.testing import FlaskClient
from marshmallow import Schema, fields

from {{ cookiecutter.project_slug }}.core import api as resources
from {{ cookiecutter.project_slug }}.core.api import Blueprint, api


class ThingSchema(Schema):
    name = fields.String(required=True)
    text = fields.String(validate=lambda text: resources.storable(text))
    size = fields.Integer()


bp = Blueprint("things", __name__, url_prefix="/test")


@bp.post("")
@bp.arguments(ThingSchema)
@bp.response(201, ThingSchema)
def create(values: dict[str, Any]) -> dict[str, Any]:
    if values["name"] == "taken":
        flask_smorest.abort(409, message="Choose another.", errors={"name": ["Is taken."]})
    return values


@bp.patch("")
@bp.arguments(ThingSchema(partial=True))
@bp.response(200, ThingSchema(only=["name"]))
def change(values: dict[str, Any]) -> dict[str, Any]:
    return values


@pytest.fixture
def app(app: Flask) -> Flask:
    api.register_blueprint(bp)
    return app


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"name": "x", "text": "half \\ud83d"}', 422),
        ('{"name": "x", "text": "nul \\u0000"}', 422),
        ('["name"]', 422),
        ("{", 400),
        ("[" * 20_000, 400),
        ('["' + "x" * 100_000 + '"]', 413),
    ],
    ids=["surrogate", "NUL", "list", "syntax", "nesting", "size"],
)
def test_invalid_body_is_rejected(client: FlaskClient, body: str, status: int) -> None:
    response = client.post("/test", data=body, content_type="application/json")

    assert (response.status_code, response.mimetype) == (status, "application/problem+json")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"name": "' + "x" * 131_072 + '"}', 413),
        ('{"name": [' + "[],{}," * 10_000 + "1]}", 422),
        (json.dumps(dict.fromkeys(map(str, range(101)))), 422),
        (json.dumps({"x" * 101: 1}), 422),
    ],
    ids=["size", "brackets", "fields", "name"],
)
def test_body_that_is_expensive_to_validate_is_rejected(
    app: Flask, client: FlaskClient, body: str, status: int
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 1_048_576

    response = client.post("/test", data=body, content_type="application/json")

    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    assert "JSON may have at most" in (response.json or {})["detail"]
    assert len(response.data) < 200


def test_largest_text_is_accepted(app: Flask, client: FlaskClient) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 1_048_576

    for text in ("🚀" * 10_000, "[{" * 5_000):
        assert client.post("/test", json={"name": text}).json == {"name": text}


def test_fields_are_optional_in_a_patch(client: FlaskClient) -> None:
    changed = client.patch("/test", json={"size": 1})
    invalid = client.patch("/test", json={"size": "x", "colour": 1})

    assert (changed.status_code, changed.json) == (200, {})
    assert invalid.status_code == 422
    assert set((invalid.json or {})["errors"]) == {"size", "colour"}


def test_problem_document_contains_what_abort_was_given(client: FlaskClient) -> None:
    response = client.post("/test", json={"name": "taken"}, headers={"Accept": "text/html"})

    assert (response.status_code, response.mimetype) == (409, "application/problem+json")
    assert response.json == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "Choose another.",
        "errors": {"name": ["Is taken."]},
    }


def test_only_json_is_accepted(client: FlaskClient) -> None:
    assert client.post("/test", data={"name": "🚀"}).status_code == 415
    assert client.post("/test", json={"name": "🚀"}).json == {"name": "🚀"}
