"""Pages of a list: the query parameters, and the response with links to other pages."""

from typing import Any

from flask import Response, jsonify, url_for
from marshmallow import EXCLUDE, Schema, fields
from marshmallow.validate import Range

LAST_PAGE = 500  # a page costs as much as all pages before it


class PageSchema(Schema):
    """The query parameters of a list, which the response repeats; others are ignored."""

    class Meta:
        unknown = EXCLUDE

    page = fields.Integer(load_default=1, validate=Range(1, LAST_PAGE))
    per_page = fields.Integer(load_default=20, validate=Range(1, 100))


def page_response(
    endpoint: str, items: list[Any], page: int, per_page: int, **values: Any
) -> Response:
    """Return a page of a list, with a ``Link`` header for other pages (RFC 8288).

    If another page follows, ``items`` contains one item more than the page. ``values`` are further
    variables and query parameters of the URLs in the header.
    """
    pages = {"first": 1, "prev": page - 1}
    if len(items) > per_page and page < LAST_PAGE:
        pages["next"] = page + 1
    links = [
        f'<{url_for(endpoint, page=number, per_page=per_page, **values)}>; rel="{relation}"'
        for relation, number in pages.items()
        if number > 0  # page 1 has no previous page
    ]
    response = jsonify(items=items[:per_page], page=page, per_page=per_page)
    response.headers["Link"] = ", ".join(links)
    return response
