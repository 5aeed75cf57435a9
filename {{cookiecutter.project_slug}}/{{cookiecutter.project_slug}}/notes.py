"""An example of a JSON resource: copy it for your own resources, then delete it."""

from typing import Any

import click
from flask import Response, abort, url_for
from marshmallow import Schema, fields
from marshmallow.validate import Length
from sqlalchemy import delete, select

from .core.api import Blueprint, storable
{% if cookiecutter.use_redis %}
from .core.cache import memoize_until_commit
{% endif %}
from .core.database import db
from .core.pages import PageSchema, page_response
from .models import Note

bp = Blueprint(
    "notes",
    __name__,
    url_prefix="/notes",
    cli_group=None,  # flask seed, and not flask notes seed
    description="Short texts with a title",
)


class NoteSchema(Schema):
    """A note as clients send and receive it."""

    id = fields.Integer(dump_only=True)
    title = fields.String(required=True, validate=[Length(1, 200), storable])
    body = fields.String(load_default="", validate=[Length(max=10_000), storable])
    created_at = fields.DateTime(dump_only=True)


class NotesSchema(PageSchema):
    """A page of the list of notes."""

    items = fields.List(fields.Nested(NoteSchema), required=True)


# Schemas are created here and not in each request, which would take longer
note_schema = NoteSchema()
patch_schema = NoteSchema(partial=True)
page_schema = PageSchema()


@bp.get("")
@bp.arguments(page_schema, location="query", as_kwargs=True)
@bp.response(200, NotesSchema)  # only describes it: page_response() builds the response
def index(page: int, per_page: int) -> Response:
    """List notes, newest first; the Link header refers to the first, previous and next page."""
    return page_response(".index", newest(page, per_page), page, per_page)


{% if cookiecutter.use_redis %}
@memoize_until_commit
{% endif %}
def newest(page: int, per_page: int) -> list[Any]:
    """Return the notes of a page, and one more if another page follows."""
    notes = select(Note).order_by(Note.id.desc())
    found = db.session.scalars(notes.offset((page - 1) * per_page).limit(per_page + 1))
    return note_schema.dump(found, many=True)


@bp.post("")
@bp.arguments(note_schema)
@bp.response(201, note_schema)
def create(values: dict[str, Any]) -> tuple[Note, dict[str, str]]:
    """Store a note; the Location header contains its URL."""
    note = Note(**values)
    db.session.add(note)
    db.session.commit()
    return note, {"Location": url_for(".show", note_id=note.id)}


@bp.get("/<id:note_id>")
@bp.response(200, note_schema)
def show(note_id: int) -> Note:
    """Return one note."""
    return db.get_or_abort(Note, note_id)


@bp.patch("/<id:note_id>")
@bp.arguments(patch_schema)
@bp.response(200, note_schema)
def change(values: dict[str, Any], note_id: int) -> Note:
    """Change the fields of a note that the request contains."""
    # Another change of the note waits until this one is committed.
    note = db.get_or_abort(Note, note_id, get_kwargs={"with_for_update": True})
    for name, value in values.items():
        setattr(note, name, value)
    db.session.commit()
    return note


@bp.delete("/<id:note_id>")
@bp.response(204)
def remove(note_id: int) -> None:
    """Delete one note."""
    deleted = db.session.execute(delete(Note).where(Note.id == note_id).returning(Note.id))
    if deleted.first() is None:
        abort(404)
    db.session.commit()


@bp.cli.command()
def seed() -> None:
    """Add five notes to an empty database."""
    if db.session.scalar(select(Note.id).limit(1)):
        click.echo("The database already contains notes.")
        return
    db.session.add_all(Note(title=f"Note {n}", body="An example.") for n in range(1, 6))
    db.session.commit()
    click.echo("Five notes added.")
