import re

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }}.core.api import Blueprint, api
from {{ cookiecutter.project_slug }}.core.pages import LAST_PAGE, PageSchema, page_response

bp = Blueprint("things", __name__, url_prefix="/test")


@bp.get("")
@bp.arguments(PageSchema, location="query", as_kwargs=True)
@bp.response(200, PageSchema)
def index(page: int, per_page: int) -> Response:
    items = range((page - 1) * per_page, min(page * per_page + 1, 3 * per_page))
    return page_response(".index", list(items), page, per_page, kind="a")


@pytest.fixture
def app(app: Flask) -> Flask:
    api.register_blueprint(bp)
    return app


@pytest.mark.parametrize(
    ("page", "links"), [(1, "first=1 next=2"), (2, "first=1 prev=1 next=3"), (3, "first=1 prev=2")]
)
def test_page_links_to_pages(client: FlaskClient, page: int, links: str) -> None:
    response = client.get(f"/test?page={page}&per_page=5&ignored=1")

    items = list(range(page * 5 - 5, page * 5))
    assert response.json == {"items": items, "page": page, "per_page": 5}
    assert response.headers["Link"] == ", ".join(
        f'</test?page={number}&per_page=5&kind=a>; rel="{relation}"'
        for relation, number in (link.split("=") for link in links.split())
    )


def test_last_page_links_to_no_next_page(client: FlaskClient) -> None:
    with client.application.test_request_context():
        link = page_response("things.index", list(range(21)), LAST_PAGE, 20).headers["Link"]

    assert re.findall('rel="(.*?)"', link) == ["first", "prev"]
    assert client.get(f"/test?page={LAST_PAGE}").status_code == 200


@pytest.mark.parametrize("value", ["page=0", "page=501", f"page={'9' * 30}", "per_page=101"])
def test_invalid_page_is_rejected(client: FlaskClient, value: str) -> None:
    response = client.get(f"/test?{value}")

    assert (response.status_code, response.mimetype) == (422, "application/problem+json")
    [(name, [message])] = (response.json or {})["errors"].items()
    assert name == value.split("=")[0]
    assert re.search("less than or equal to (100|500)", message)
