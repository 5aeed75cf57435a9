import pytest
from flask import Blueprint, Flask, request
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from marshmallow import Schema, ValidationError, fields
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_options_header

from {{ cookiecutter.project_slug }} import api
from {{ cookiecutter.project_slug }}.errors import problem


class ThingSchema(Schema):
    name = fields.String(required=True, validate=api.storable)


@pytest.fixture
def app(app: Flask) -> Flask:
    bp = Blueprint("things", __name__, url_prefix="/things")
    bp.register_error_handler(HTTPException, problem)
    bp.register_error_handler(ValidationError, api.invalid)

    @bp.get("")
    def index() -> ResponseReturnValue:
        page = api.PageSchema().load(request.args)
        return dict(page), api.links(".index", **page, more=page["page"] < 3)

    @bp.post("")
    def create() -> ResponseReturnValue:
        return dict(ThingSchema().load(api.json_body()))

    app.register_blueprint(bp)
    return app


@pytest.mark.parametrize(
    ("page", "linked"), [(1, "first=1 next=2"), (2, "first=1 prev=1 next=3"), (3, "first=1 prev=2")]
)
def test_page_links_to_others(client: FlaskClient, page: int, linked: str) -> None:
    response = client.get(f"/things?page={page}&per_page=5&ignored=1")

    links = [parse_options_header(link) for link in response.headers["Link"].split(", ")]
    addresses = {options["rel"]: address for address, options in links}
    assert response.json == {"page": page, "per_page": 5}
    assert addresses == {
        relation: f"</things?page={number}&per_page=5>"
        for relation, number in (link.split("=") for link in linked.split())
    }


@pytest.mark.parametrize("value", ["page=0", "page=x", f"page={'9' * 30}", "per_page=101"])
def test_invalid_page_is_rejected(client: FlaskClient, value: str) -> None:
    response = client.get(f"/things?{value}")

    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert list((response.json or {})["errors"]) == [value.split("=")[0]]


@pytest.mark.parametrize("name", ["", "Ünï 🚀", "<b>", "'; DROP TABLE things; --"])
def test_text_is_accepted_as_it_is(client: FlaskClient, name: str) -> None:
    assert client.post("/things", json={"name": name}).json == {"name": name}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (r'{"name": "nul \u0000"}', "application/json", 422),
        (r'{"name": "half \ud83d"}', "application/json", 422),
        ('["name"]', "application/json", 422),
        ("{", "application/json", 400),
        ("[" * 50_000, "application/json", 400),
        ("name=x", "application/x-www-form-urlencoded", 415),
        ('["' + "x" * 100_000 + '"]', "application/json", 413),
    ],
    ids=["NUL", "surrogate", "list", "syntax", "nesting", "form", "size"],
)
def test_invalid_body_is_rejected(
    client: FlaskClient, body: str, content_type: str, status: int
) -> None:
    response = client.post("/things", data=body, content_type=content_type)

    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
