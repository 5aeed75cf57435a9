"""Helpers for JSON resources: request bodies, pagination, and validation errors."""

from typing import Any

from flask import request, url_for
from marshmallow import EXCLUDE, Schema, ValidationError, fields
from marshmallow.validate import Range
from werkzeug.exceptions import BadRequest, UnprocessableEntity
from werkzeug.wrappers import Response

from .errors import problem

LARGEST_ID = 2**31 - 1  # of an INTEGER column


class PageSchema(Schema):
    """The query parameters of a list; others are ignored."""

    class Meta:
        unknown = EXCLUDE

    page = fields.Integer(load_default=1, validate=Range(1, 1_000_000))
    per_page = fields.Integer(load_default=20, validate=Range(1, 100))


page_schema = PageSchema()


def storable(text: str) -> None:
    """Validate that a text column can store ``text``: no NUL, and no surrogate characters."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValidationError("Must not contain NUL or surrogate characters.")


def json_body() -> Any:
    """Return the JSON body of the request."""
    try:
        return request.get_json()
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None


def invalid(error: ValidationError) -> Response:
    """Return which fields are invalid, and why: an error handler for blueprints."""
    return problem(UnprocessableEntity("Some fields are invalid."), errors=error.messages)


def links(endpoint: str, page: int, per_page: int, *, more: bool, **values: Any) -> dict[str, str]:
    """Return the ``Link`` header for the first, previous and next page (RFC 8288)."""
    pages = {"first": 1, "prev": page - 1, "next": page + 1 if more else 0}
    targets = [
        f'<{url_for(endpoint, page=number, per_page=per_page, **values)}>; rel="{relation}"'
        for relation, number in pages.items()
        if number
    ]
    return {"Link": ", ".join(targets)}
