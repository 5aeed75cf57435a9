import re

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule


def test_page_shows_the_name_and_the_routes(app: Flask, client: FlaskClient) -> None:
    app.config["SERVICE_NAME"] = "<b>Shop"

    page = client.get("/").text

    assert "<title>&lt;b&gt;Shop</title>" in page
    assert "<h1>&lt;b&gt;Shop</h1>" in page
    assert {"/", "/livez", "/readyz"} <= set(re.findall('<a href="(.*?)"', page))


def test_page_has_no_inline_scripts_or_styles(client: FlaskClient) -> None:
    page = client.get("/").text

    assert "<link" in page
    assert not re.search(r'<style|<script(?![^>]* src=)|<[^>]* (style|on\w+)="', page)


def test_routes_are_collected_once(app: Flask, client: FlaskClient) -> None:
    before = client.get("/").text
    app.url_map.add(Rule("/later", endpoint="home.index"))

    assert client.get("/").text == before


def test_error_page_shows_the_error_and_the_id_of_the_request(client: FlaskClient) -> None:
    response = client.get("/nope")

    assert "<h1>Not Found</h1>" in response.text
    assert response.headers["X-Request-ID"] in response.text


def test_pages_take_their_files_from_the_cdn(app: Flask, client: FlaskClient) -> None:
    app.config["STATIC_HOST"] = "https://cdn.example.com"

    assert 'href="https://cdn.example.com/static/' in client.get("/nope").text
