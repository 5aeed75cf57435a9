from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, send_file

from {{ cookiecutter.project_slug }}.core import assets


@pytest.fixture
def shop(tmp_path: Path) -> Flask:
    """Create an application with a stylesheet, and with a compressed copy of it."""
    (tmp_path / "style.css").write_text("body { color: red }")
    (tmp_path / "style.css.gz").write_bytes(b"compressed")
    app = Flask("shop", static_folder=tmp_path, static_url_path="/static")
    app.config.update(DEBUG=False, STATIC_HOST="")
    assets.init_app(app)
    return app


def url_of(app: Flask, file: str) -> str:
    with app.test_request_context():
        return app.url_for("static", filename=file)


def cache_control(app: Flask, path: str) -> str | None:
    with app.test_client().get(path) as response:
        assert response.data
        return response.headers.get("Cache-Control")


def test_url_contains_a_digest_of_the_files(shop: Flask, tmp_path: Path) -> None:
    before = assets.version_of(tmp_path)
    (tmp_path / "style.css").write_text("body { color: blue }")

    assert url_of(shop, "style.css") == f"/static/{before}/style.css"
    assert assets.version_of(tmp_path) != before


def test_only_the_current_version_of_a_file_is_stored(shop: Flask) -> None:
    current = url_of(shop, "style.css")

    assert cache_control(shop, current) == "public, max-age=31536000, immutable"
    assert cache_control(shop, "/static/style.css") == "no-cache"
    assert cache_control(shop, "/static/v00000000/style.css") == "no-cache"
    assert cache_control(shop, current.replace("style", "none")) is None


def test_files_are_compressed_and_have_the_security_headers(shop: Flask) -> None:
    client = shop.test_client()

    with client.get("/static/style.css", headers={"Accept-Encoding": "gzip"}) as compressed:
        assert compressed.data == b"compressed"
        assert compressed.headers["Vary"] == "Accept-Encoding"
    with client.get("/static/style.css") as plain:
        assert plain.data == b"body { color: red }"
        assert plain.headers.getlist("Cache-Control") == ["no-cache"]
        assert plain.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert plain.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert plain.headers["X-Content-Type-Options"] == "nosniff"
        assert plain.headers["ETag"]
        assert "Access-Control-Allow-Origin" not in plain.headers


def test_saved_file_counts_at_once_in_debug_mode(tmp_path: Path) -> None:
    app = Flask("shop", static_folder=tmp_path, static_url_path="/static")
    app.config.update(DEBUG=True, STATIC_HOST="")
    assets.init_app(app)
    (tmp_path / "new.css").write_text("new")

    assert url_of(app, "new.css") == "/static/new.css"
    assert cache_control(app, "/static/new.css") == "no-cache"


def test_nothing_outside_the_folder_is_served(shop: Flask, tmp_path: Path) -> None:
    (tmp_path.parent / "secret").write_text("secret")

    for path in ("../secret", "%2e%2e/secret", "..%2fsecret", "/etc/passwd"):
        assert shop.test_client().get(f"/static/{path}").status_code in {308, 404}


def test_file_that_a_view_sends_is_not_stored(shop: Flask) -> None:
    shop.add_url_rule("/test", view_func=lambda: send_file(__file__))

    assert cache_control(shop, "/test") == "no-cache"


def test_files_come_from_the_cdn(make_app: Callable[..., Flask]) -> None:
    app = make_app(STATIC_HOST="https://cdn.example.com")
    client = app.test_client()

    policy = client.get("/livez").headers["Content-Security-Policy"].split("; ")

    assert policy[0] == "default-src 'self' https://cdn.example.com"
    assert {"base-uri 'self'", "form-action 'self'", "object-src 'none'"} <= set(policy)
    for path in ("/static/favicon.svg", "/static/v00000000/favicon.svg"):
        with client.get(path) as file:
            assert file.headers["Access-Control-Allow-Origin"] == "*"
            assert file.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_file_of_debug_mode_is_for_the_cdn_too(make_app: Callable[..., Flask]) -> None:
    client = make_app(DEBUG=True, STATIC_HOST="https://cdn.example.com").test_client()

    with client.get("/static/favicon.svg") as file:
        assert file.headers["Access-Control-Allow-Origin"] == "*"
        assert file.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "Access-Control-Allow-Origin" not in client.get("/livez").headers


def test_application_without_a_static_folder_serves_no_files() -> None:
    app = Flask("shop", static_folder=None)
    app.config.update(DEBUG=False, STATIC_HOST="")
    assets.init_app(app)

    assert app.test_client().get("/pyproject.toml").status_code == 404
