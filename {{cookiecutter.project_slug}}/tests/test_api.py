import pytest
from flask import Blueprint, Flask, request
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from marshmallow import Schema, ValidationError, fields
from werkzeug.exceptions import HTTPException

from {{ cookiecutter.project_slug }} import api
from {{ cookiecutter.project_slug }}.errors import problem

ThingSchema = Schema.from_dict({"name": fields.String(required=True, validate=api.storable)})


@pytest.fixture
def app(app: Flask) -> Flask:
    bp = Blueprint("things", __name__, url_prefix="/test")
    bp.register_error_handler(HTTPException, problem)
    bp.register_error_handler(ValidationError, api.invalid)

    @bp.get("")
    def index() -> ResponseReturnValue:
        page = api.page_schema.load(request.args)
        return dict(page), api.links(".index", **page, more=page["page"] < 3, kind="a")

    @bp.post("")
    def create() -> ResponseReturnValue:
        return dict(ThingSchema().load(api.json_body()))

    app.register_blueprint(bp)
    return app


@pytest.mark.parametrize(
    ("page", "links"), [(1, "first=1 next=2"), (2, "first=1 prev=1 next=3"), (3, "first=1 prev=2")]
)
def test_page_links_to_pages(client: FlaskClient, page: int, links: str) -> None:
    response = client.get(f"/test?page={page}&per_page=5&ignored=1")

    assert response.json == {"page": page, "per_page": 5}
    assert response.headers["Link"] == ", ".join(
        f'</test?page={number}&per_page=5&kind=a>; rel="{relation}"'
        for relation, number in (link.split("=") for link in links.split())
    )


@pytest.mark.parametrize("value", ["page=0", "page=x", f"page={'9' * 30}", "per_page=101"])
def test_invalid_page_is_rejected(client: FlaskClient, value: str) -> None:
    response = client.get(f"/test?{value}")

    assert (response.status_code, response.mimetype) == (422, "application/problem+json")
    assert list((response.json or {})["errors"]) == [value.split("=")[0]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"name": "half \\ud83d"}', 422),
        ('{"name": "nul \\u0000"}', 422),
        ('["name"]', 422),
        ("{", 400),
        ("[" * 50_000, 400),
        ('["' + "x" * 100_000 + '"]', 413),
    ],
    ids=["surrogate", "NUL", "list", "syntax", "nesting", "size"],
)
def test_invalid_body_is_rejected(client: FlaskClient, body: str, status: int) -> None:
    response = client.post("/test", data=body, content_type="application/json")

    assert (response.status_code, response.mimetype) == (status, "application/problem+json")


def test_only_json_is_accepted(client: FlaskClient) -> None:
    assert client.post("/test", data={"name": "🚀"}).status_code == 415
    assert client.post("/test", json={"name": "🚀"}).json == {"name": "🚀"}
