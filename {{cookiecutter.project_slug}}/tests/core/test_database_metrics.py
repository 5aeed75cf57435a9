from collections.abc import Callable

import pytest
from flask import Flask
from prometheus_client import REGISTRY

from {{ cookiecutter.project_slug }}.core.database import db


def test_connections_are_counted(make_app: Callable[..., Flask]) -> None:
    app = make_app(METRICS_TOKEN=None)
    with app.app_context():
        if db.engine.dialect.name != "postgresql":
            pytest.skip("SQLite has no connections")
        with db.engine.connect(), db.engine.connect():
            app.test_client().get("/metrics")

    assert (REGISTRY.get_sample_value("database_connections") or 0) >= 2


def test_connections_of_a_database_that_is_away_are_not_counted(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(METRICS_TOKEN=None, DATABASE_URL="postgresql+psycopg://me@127.0.0.1:1/mine")

    assert app.test_client().get("/metrics").status_code == 200
    assert REGISTRY.get_sample_value("dependency_up", {"name": "postgres"}) == 0
