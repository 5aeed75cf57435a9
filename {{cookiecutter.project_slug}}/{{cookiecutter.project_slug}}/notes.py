"""An example of a JSON resource: copy it for your own resources, then delete it."""

from typing import Any

import click{{ "\nfrom celery import shared_task" if cookiecutter.use_worker }}
from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue
from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import Length
from sqlalchemy import delete, select
from werkzeug.exceptions import HTTPException, NotFound

from . import api
{% if cookiecutter.use_redis %}
from .cache import cache, invalidate
{% endif %}
from .database import db
from .errors import problem
from .models import Note{{ "\nfrom .worker import enqueue" if cookiecutter.use_worker }}

bp = Blueprint("notes", __name__, url_prefix="/notes", cli_group=None)
bp.register_error_handler(HTTPException, problem)
bp.register_error_handler(ValidationError, api.invalid)


class NoteSchema(Schema):
    """A note as clients send and receive it."""

    id = fields.Integer(dump_only=True)
    title = fields.String(required=True, validate=[Length(1, 200), api.storable])
    body = fields.String(load_default="", validate=[Length(max=10_000), api.storable])
    created_at = fields.DateTime(dump_only=True){{ "\n    words = fields.Integer(dump_only=True, allow_none=True)" if cookiecutter.use_worker }}


note_schema = NoteSchema()

{% if cookiecutter.use_openapi %}

class NotesSchema(api.PageSchema):
    """A page of notes."""

    items = fields.List(fields.Nested(NoteSchema), required=True)

{% endif %}

@bp.get("")
def index() -> ResponseReturnValue:
    """List notes, newest first; the ``Link`` header refers to the first, previous and next page."""
    page = api.page_schema.load(request.args)
    items = newest(**page)
    more = len(items) > page["per_page"]
    return {"items": items[: page["per_page"]], **page}, api.links(".index", **page, more=more)


{% if cookiecutter.use_redis %}
@cache.memoize()
{% endif %}
def newest(page: int, per_page: int) -> list[dict[str, Any]]:
    """Return the notes of a page, and one more if another page follows."""
    notes = select(Note.__table__).order_by(Note.id.desc())
    rows = db.session.execute(notes.offset((page - 1) * per_page).limit(per_page + 1))
    items: list[dict[str, Any]] = note_schema.dump(rows.mappings(), many=True)
    return items


@bp.post("")
def create() -> ResponseReturnValue:
    """Store a note; the ``Location`` header contains its URL."""
    note = Note(**note_schema.load(api.json_body()))
    db.session.add(note)
    db.session.commit()
{% if cookiecutter.use_redis %}
    invalidate(newest)
{% endif %}
{{ "    enqueue(count_words, note.id)\n" if cookiecutter.use_worker }}    return note_schema.dump(note), 201, {"Location": url_for(".show", note_id=note.id)}


{% if cookiecutter.use_worker %}
@shared_task
def count_words(note_id: int) -> None:
    """Count the words of a note, unless it was deleted."""
    if note := db.session.get(Note, note_id):
        note.words = len(note.body.split())
        db.session.commit()
{% if cookiecutter.use_redis %}
        invalidate(newest)
{% endif %}


{% endif %}
@bp.get(f"/<int(max={api.LARGEST_ID}):note_id>")
def show(note_id: int) -> ResponseReturnValue:
    """Return one note."""
    body: dict[str, Any] = note_schema.dump(db.get_or_abort(Note, note_id))
    return body


@bp.delete(f"/<int(max={api.LARGEST_ID}):note_id>")
def remove(note_id: int) -> ResponseReturnValue:
    """Delete one note."""
    deleted = db.session.execute(delete(Note).where(Note.id == note_id).returning(Note.id))
    if deleted.first() is None:
        raise NotFound
    db.session.commit()
{% if cookiecutter.use_redis %}
    invalidate(newest)
{% endif %}
    return "", 204


@bp.cli.command()
def seed() -> None:
    """Add five notes to an empty database."""
    if db.session.scalar(select(Note.id).limit(1)):
        click.echo("The database already contains notes.")
        return
    db.session.add_all(Note(title=f"Note {n}", body="An example.") for n in range(1, 6))
    db.session.commit()
{% if cookiecutter.use_redis %}
    invalidate(newest)
{% endif %}
    click.echo("Five notes added.")
