import gc
import tracemalloc
from collections.abc import Callable

import pytest
from flask import Flask, send_file
from flask.testing import FlaskClient


@pytest.fixture
def address(app: Flask) -> str:
    with app.test_request_context():
        return app.url_for("static", filename="favicon.svg")


def cache_control(client: FlaskClient, address: str) -> str:
    with client.get(address) as response:
        assert response.status_code == 200
        return response.headers["Cache-Control"]


def test_static_file_is_cached_only_with_its_version(client: FlaskClient, address: str) -> None:
    plain, _, version = address.partition("?v=")

    assert f'href="{address}"' in client.get("/").text
    assert cache_control(client, address) == "public, max-age=31536000, immutable"
    assert cache_control(client, f"{plain}?v={version[::-1]}") == "no-cache"
    assert cache_control(client, plain) == "no-cache"


def test_file_that_a_view_sends_is_not_cached(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/test", view_func=lambda: send_file(__file__))

    assert cache_control(client, "/test") == "no-cache"


@pytest.mark.parametrize(("debug", "name"), [(False, "missing.svg"), (True, "favicon.svg")])
def test_url_has_no_version(make_app: Callable[..., Flask], debug: bool, name: str) -> None:
    with (app := make_app(DEBUG=debug)).test_request_context():
        assert app.url_for("static", filename=name) == f"/static/{name}"


def test_path_with_dots_is_not_cached_and_uses_no_memory(app: Flask, address: str) -> None:
    memory = []

    tracemalloc.start()
    for n in range(60):
        path = {"PATH_INFO": f"/static/{n:02000}/../favicon.svg"}
        with app.test_request_context(address, environ_overrides=path):
            response = app.full_dispatch_request()
            response.close()
        assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-cache")
        if n in (9, 59):
            gc.collect()
            memory.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert memory[1] - memory[0] < 50_000
