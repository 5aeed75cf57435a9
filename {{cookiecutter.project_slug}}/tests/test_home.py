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
