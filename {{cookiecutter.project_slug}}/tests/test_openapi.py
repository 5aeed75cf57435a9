from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }} import openapi


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_document_describes_each_view(app: Flask, client: FlaskClient) -> None:
    document = client.get("/openapi.json").json or {}

    operations = [one for path in document["paths"].values() for one in path.values()]
    components = document["components"].items()
    parts = {f"#/components/{kind}/{name}" for kind, named in components for name in named}
    assert document["openapi"] == "3.1.0"
    assert {one["operationId"].rpartition(".")[0] for one in operations} == set(openapi.VIEWS)
    assert all(one["summary"] for one in operations)
    assert references(document) == parts


def test_view_of_a_blueprint_is_described_with_its_variables(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(number: int, name: str) -> str:
        """Return a book."""
        return name

    app.add_url_rule("/books/<int(min=1):number>/<name>", "books.show", show)
    monkeypatch.setitem(openapi.VIEWS, "books.show", {"responses": {200: openapi.HealthSchema}})

    paths = (client.get("/openapi.json").json or {})["paths"]

    described = paths["/books/{number}/{name}"]["get"]
    schemas = {one["name"]: one["schema"] for one in described["parameters"]}
    assert described["summary"] == "Return a book."
    assert schemas == {"number": {"type": "integer", "minimum": 1}, "name": {"type": "string"}}


@pytest.mark.parametrize("production", [True, False])
def test_page_is_shown_in_development_only(
    make_app: Callable[..., Flask], production: bool
) -> None:
    client = make_app(PRODUCTION=production).test_client()

    page = client.get("/openapi")

    assert page.status_code == (404 if production else 200)
    assert ("<h2" in page.text and "/readyz" in page.text) is not production
    assert client.get("/openapi.json").status_code == 200
