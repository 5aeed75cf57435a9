from pathlib import Path

import pytest
from flask import Flask, send_file
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }} import assets

VERSION = "v0123abcd"


@pytest.fixture
def image(tmp_path: Path) -> Flask:
    """Create an application with static files as in the image: each also with its version."""
    for folder in (tmp_path, tmp_path / VERSION, tmp_path / "variables"):
        folder.mkdir(exist_ok=True)
        (folder / "style.css").write_text("body {}")
    app = Flask("image", static_folder=tmp_path, static_url_path="/static")
    app.config["STATIC_HOST"] = ""
    assets.init_app(app)
    return app


def cache_control(app: Flask, path: str) -> str | None:
    with app.test_client().get(path) as response:
        assert response.data
        return response.headers.get("Cache-Control")


def test_url_contains_the_version(image: Flask) -> None:
    with image.test_request_context():
        assert image.url_for("static", filename="style.css") == f"/static/{VERSION}/style.css"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/static/{VERSION}/style.css", "public, max-age=31536000, immutable"),
        ("/static/style.css", "no-cache"),
        ("/static/v00000000/style.css", "no-cache"),
        (f"/static/{VERSION}/none.css", None),
    ],
)
def test_only_the_current_version_of_a_file_is_cached(
    image: Flask, path: str, expected: str | None
) -> None:
    assert cache_control(image, path) == expected


def test_file_that_a_view_sends_is_not_cached(image: Flask) -> None:
    image.add_url_rule("/test", view_func=lambda: send_file(__file__))

    assert cache_control(image, "/test") == "no-cache"


def test_pages_refer_to_the_cdn(app: Flask, client: FlaskClient) -> None:
    app.config["STATIC_HOST"] = "https://cdn.example.com"

    page = client.get("/")

    assert 'href="https://cdn.example.com/static/favicon.svg"' in page.text
    policy = page.headers["Content-Security-Policy"].split("; ")
    assert policy[0] == "default-src 'self' https://cdn.example.com"
    with client.get("/static/favicon.svg") as file:
        assert file.headers["Access-Control-Allow-Origin"] == "*"
        assert file.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
