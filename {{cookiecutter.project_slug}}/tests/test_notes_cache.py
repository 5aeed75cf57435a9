from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from {{ cookiecutter.project_slug }}.core.database import db


def test_list_is_in_the_cache_until_a_note_changes(app: Flask, client: FlaskClient) -> None:
    statements: list[str] = []
    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    counts = []
    for change in (None, None, {"title": "x"}, None):
        if change:
            client.post("/notes", json=change)
        client.get("/notes")
        counts.append(sum(statement.startswith("SELECT") for statement in statements))

    assert counts == [1, 1, 2, 2]
