"""Books: an example of a resource in MongoDB."""

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue

from .mongo import database

bp = Blueprint("books", __name__, url_prefix="/books")


@bp.get("")
def index() -> ResponseReturnValue:
    """List the first 100 books."""
    books = database().books.find({}, {"_id": False}).sort("title").limit(100)
    return {"items": list(books)}


@bp.post("")
def create() -> ResponseReturnValue:
    """Store a book."""
    match request.get_json():
        case {"title": str(title)}:
            database().books.insert_one({"title": title})
            return {"title": title}, 201
    abort(422, "A book needs a title.")
