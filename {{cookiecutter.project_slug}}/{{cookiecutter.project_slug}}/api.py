"""What every JSON resource needs: a validated body, pages of a list, and problem documents."""

from typing import Any

from flask import request, url_for
from marshmallow import EXCLUDE, Schema, ValidationError, fields
from marshmallow.validate import Range
from werkzeug.exceptions import BadRequest, UnprocessableEntity
from werkzeug.wrappers import Response

from .errors import problem

LARGEST_ID = 2**31 - 1  # of an INTEGER column


class PageSchema(Schema):
    """The part of a list that a client asks for; other query parameters are ignored."""

    class Meta:
        """Options of the schema."""

        unknown = EXCLUDE

    page = fields.Integer(load_default=1, validate=Range(1, 1_000_000))
    per_page = fields.Integer(load_default=20, validate=Range(1, 100))


def storable(text: str) -> None:
    """Validate that a text column can store ``text``: no NUL, and no surrogate characters."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValidationError("Must not contain NUL or surrogate characters.")


def json_body() -> Any:
    """The JSON that the client sent."""
    try:
        return request.get_json()
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None


def invalid(error: ValidationError) -> Response:
    """Say which fields are invalid, and why: an error handler for blueprints."""
    return problem(UnprocessableEntity("Some fields are invalid."), errors=error.messages)


def links(endpoint: str, page: int, per_page: int, *, more: bool) -> dict[str, str]:
    """The ``Link`` header to the first, the previous and the next page (RFC 8288)."""
    pages = {"first": 1, "prev": page - 1, "next": page + 1 if more else 0}
    targets = [
        f'<{url_for(endpoint, page=number, per_page=per_page)}>; rel="{relation}"'
        for relation, number in pages.items()
        if number
    ]
    return {"Link": ", ".join(targets)}
