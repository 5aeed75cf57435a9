from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient
from marshmallow import Schema, fields

from {{ cookiecutter.project_slug }}.core.api import Blueprint, api


class BookSchema(Schema):
    title = fields.String(required=True)


bp = Blueprint("books", __name__, url_prefix="/books")


@bp.put("/<int(min=1):number>/<name>")
@bp.arguments(BookSchema(partial=True))
@bp.response(200, BookSchema)
def change(values: dict[str, Any], number: int, name: str) -> dict[str, Any]:
    """Change a book."""
    return {"title": name, **values}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_document_describes_each_view(app: Flask, client: FlaskClient) -> None:
    document = client.get("/openapi.json").json or {}

    described = {(method, path) for path, one in document["paths"].items() for method in one}
    components = document["components"].items()
    parts = {f"#/components/{kind}/{name}" for kind, named in components for name in named}
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == app.config["SERVICE_NAME"]
    assert described >= {("get", "/livez"), ("get", "/readyz")}
    assert document["paths"]["/readyz"]["get"]["responses"].keys() >= {"200", "503", "4XX"}
    assert references(document) <= parts


def test_resource_is_described_by_its_decorators(app: Flask, client: FlaskClient) -> None:
    api.register_blueprint(bp)
    document = client.get("/openapi.json").json or {}

    path = document["paths"]["/books/{number}/{name}"]
    schemas = {one["name"]: one["schema"] for one in path["parameters"]}
    body = path["put"]["requestBody"]["content"]["application/json"]["schema"]
    answer = path["put"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert path["put"]["summary"] == "Change a book."
    assert schemas["number"] == {"type": "integer", "minimum": 1}
    assert schemas["name"]["type"] == "string"
    assert body["properties"]["title"] == {"type": "string"}
    assert "required" not in body  # the schema is partial
    assert answer == {"$ref": "#/components/schemas/Book"}
    assert document["components"]["schemas"]["Book"]["required"] == ["title"]


def test_what_describes_a_resource_validates_its_requests(app: Flask, client: FlaskClient) -> None:
    api.register_blueprint(bp)

    assert client.put("/books/1/x", json={}).json == {"title": "x"}
    assert client.put("/books/1/x", json={"title": 1}).status_code == 422


@pytest.mark.parametrize("production", [True, False])
def test_page_is_shown_in_development_only(
    make_app: Callable[..., Flask], production: bool
) -> None:
    app = make_app(PRODUCTION=production)
    app.register_blueprint(flask.Blueprint("pages", app.name, template_folder="templates"))
    client = app.test_client()

    page = client.get("/openapi")

    assert page.status_code == (404 if production else 200)
    assert ("<h2" in page.text and "/readyz" in page.text) is not production
    assert client.get("/openapi.json").status_code == 200
