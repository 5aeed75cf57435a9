"""A migrated database for each run: SQLite, or a schema on the PostgreSQL of DATABASE_URL."""

import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import create_engine, delete, make_url
from sqlalchemy.schema import CreateSchema, DropSchema

from {{ cookiecutter.project_slug }}.database import db
from {{ cookiecutter.project_slug }}.database.models import Base


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgresql"):
        yield f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db"
        return
    schema = f"test_{uuid4().hex}"
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(CreateSchema(schema))
    url = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask], database_url: str) -> Iterator[Flask]:
    app = make_app(DATABASE_URL=database_url)
    assert app.test_cli_runner().invoke(args=["migrate"]).exit_code == 0
    yield app
    with app.app_context():
        for table in Base.metadata.sorted_tables:
            db.session.execute(delete(table))
        db.session.commit()
        db.session.close()
        db.engine.dispose()
