from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, event, insert, select, text

from {{ cookiecutter.project_slug }}.database import db
from {{ cookiecutter.project_slug }}.database.models import Note
from {{ cookiecutter.project_slug }}.database.session import PLAIN, in_transaction

NEW = {"title": "New", "body": ""}


def titles(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(select(Note.title)))


def add() -> None:
    db.session.add(Note(**NEW))
    db.session.flush()


def statement() -> None:
    db.session.execute(insert(Note).values(NEW))


def raw() -> None:
    columns = "(title, body, created_at)"
    db.session.execute(text(f"INSERT INTO notes {columns} VALUES ('New', '', '2026-01-01')"))


def on_the_connection() -> None:
    db.session.connection().execute(insert(Note).values(NEW))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("write", [add, statement, raw, on_the_connection])
def test_what_is_written_counts_when_it_is_committed(
    app: Flask, method: str, write: Callable[[], Any]
) -> None:
    with app.test_request_context("/", method=method):
        db.session.scalars(select(Note)).all()
        write()
        db.session.rollback()
    assert titles(app) == []

    with app.test_request_context("/", method=method):
        write()
        db.session.commit()
    assert titles(app) == ["New"]


def watch() -> list[bool]:
    """Whether there is a transaction, at each statement from now on."""
    seen: list[bool] = []

    def note(connection: Connection, *_: Any) -> None:
        seen.append(in_transaction(connection))

    event.listen(db.engine, "after_cursor_execute", note)
    return seen


def test_request_that_only_reads_makes_no_transaction(app: Flask) -> None:
    with app.test_request_context("/"):
        seen = watch()
        db.session.scalars(select(Note)).all()
        db.session.get(Note, 1)

    assert seen == [False, False]


def test_request_that_reads_may_try_a_write(app: Flask) -> None:
    with app.test_request_context("/"):
        attempt = db.session.begin_nested()
        add()
        attempt.rollback()
        with db.session.begin_nested():
            add()
        db.session.commit()

    assert titles(app) == ["New"]


def test_rows_that_are_read_in_parts_are_of_one_transaction(app: Flask) -> None:
    with app.test_request_context("/"):
        statement()
        db.session.commit()
        seen = watch()
        rows = db.session.scalars(select(Note).execution_options(yield_per=10))

        assert [note.title for note in rows] == ["New"]
    assert seen[-1]


@pytest.mark.parametrize(
    ("sql", "plain"),
    [
        ("SELECT a, b \nFROM notes", True),
        ("SELECT a \nFROM notes FOR UPDATE", False),
        ("SELECT a FROM notes\nFOR NO KEY UPDATE SKIP LOCKED", False),
        ("SELECT a INTO copies FROM notes", False),
        ("WITH gone AS (DELETE FROM notes RETURNING id) SELECT id FROM gone", False),
        ("SAVEPOINT a", False),
    ],
)
def test_transaction_is_spared_for_a_plain_read(sql: str, plain: bool) -> None:
    assert bool(PLAIN.match(sql)) is plain
