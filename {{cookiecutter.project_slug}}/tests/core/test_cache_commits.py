from itertools import count

from flask import Flask
from sqlalchemy import text

from {{ cookiecutter.project_slug }}.core.cache import memoize_until_commit
from {{ cookiecutter.project_slug }}.core.database import db


def test_result_is_cached_until_a_commit(app: Flask) -> None:
    numbers = count()

    @memoize_until_commit
    def read() -> int:
        return next(numbers)

    with app.app_context():
        first = read()
        db.session.execute(text("SELECT 1"))
        db.session.rollback()
        cached = read()
        db.session.execute(text("SELECT 1"))
        db.session.commit()
        later = read()

    assert (first, cached, later) == (0, 0, 1)
