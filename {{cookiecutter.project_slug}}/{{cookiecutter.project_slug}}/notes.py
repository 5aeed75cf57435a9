"""An example resource, notes, as JSON over HTTP: a pattern for yours, and easy to delete."""

from typing import Any

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow import EXCLUDE, Schema, ValidationError, fields
from marshmallow.validate import Length, Range
from sqlalchemy import delete, select
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, UnprocessableEntity
from werkzeug.wrappers import Response

from .database import db
from .database.models import Note
from .errors import problem

bp = Blueprint("notes", __name__, url_prefix="/notes")
bp.register_error_handler(HTTPException, problem)

LARGEST_ID = 2**31 - 1  # of an INTEGER column


def storable(text: str) -> None:
    """Refuse what a text column cannot hold: NUL, and half of a surrogate pair."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValidationError("Must not contain NUL or surrogate characters.")


class NoteSchema(Schema):
    """What a client may send."""

    title = fields.String(required=True, validate=[Length(1, 200), storable])
    body = fields.String(load_default="", validate=[Length(max=10_000), storable])


class PageSchema(Schema):
    """Which part of the list a client wants; further query parameters are ignored."""

    class Meta:
        """Options of the schema."""

        unknown = EXCLUDE

    page = fields.Integer(load_default=1, validate=Range(1, 1_000_000))
    per_page = fields.Integer(load_default=20, validate=Range(1, 100))


@bp.errorhandler(ValidationError)
def invalid(error: ValidationError) -> Response:
    """Say which fields are wrong, and why."""
    return problem(UnprocessableEntity("Some fields are not valid."), errors=error.messages)


@bp.get("")
def index() -> ResponseReturnValue:
    """List notes, the newest first; the ``Link`` header leads to the pages around this one."""
    asked = PageSchema().load(request.args)
    page, per_page = asked["page"], asked["per_page"]
    newest = select(Note).order_by(Note.id.desc())
    window = newest.offset((page - 1) * per_page).limit(per_page + 1)
    found = db.session.scalars(window).all()
    body = {"items": [as_dict(note) for note in found[:per_page]], "page": page}
    links = link_header(page, per_page, more=len(found) > per_page)
    return body | {"per_page": per_page}, {"Link": links}


@bp.post("")
def create() -> ResponseReturnValue:
    """Store a note; its address is in the ``Location`` header."""
    note = Note(**NoteSchema().load(json_body()))
    db.session.add(note)
    db.session.commit()
    return as_dict(note), 201, {"Location": url_for(".show", note_id=note.id)}


@bp.get(f"/<int(max={LARGEST_ID}):note_id>")
def show(note_id: int) -> ResponseReturnValue:
    """Answer one note."""
    return as_dict(db.get_or_abort(Note, note_id))


@bp.delete(f"/<int(max={LARGEST_ID}):note_id>")
def remove(note_id: int) -> ResponseReturnValue:
    """Delete one note."""
    deleted = db.session.execute(delete(Note).where(Note.id == note_id).returning(Note.id))
    if deleted.first() is None:
        raise NotFound
    db.session.commit()
    return "", 204


def json_body() -> Any:
    """The JSON that the client sent."""
    try:
        return request.get_json()
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None


def as_dict(note: Note) -> dict[str, Any]:
    """``note`` as a client sees it; the time in RFC 3339."""
    return {
        "id": note.id,
        "title": note.title,
        "body": note.body,
        "created_at": note.created_at.isoformat(),
    }


def link_header(page: int, per_page: int, *, more: bool) -> str:
    """Links to the first, the previous and the next page (RFC 8288)."""
    pages = {"first": 1, "prev": page - 1, "next": page + 1 if more else 0}
    return ", ".join(
        f'<{url_for(".index", page=number, per_page=per_page)}>; rel="{relation}"'
        for relation, number in pages.items()
        if number
    )
