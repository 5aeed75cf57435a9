from html.parser import HTMLParser

from flask import Flask, send_file
from flask.testing import FlaskClient

from config import settings


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.setdefault(self.tags[-1][0] if self.tags else "", data)


def test_page_names_the_service(client: FlaskClient) -> None:
    response = client.get("/")

    page = Page(response.text)
    assert response.status_code == 200
    assert page.text["title"] == page.text["h1"] == settings.SERVICE_NAME


def test_page_escapes_the_name_of_the_service(app: Flask, client: FlaskClient) -> None:
    app.config["SERVICE_NAME"] = "<script>alert()</script>"

    page = Page(client.get("/").text)

    assert page.text["title"] == "<script>alert()</script>"
    assert "script" not in dict(page.tags)


def test_page_lists_the_routes(client: FlaskClient) -> None:
    page = Page(client.get("/").text)

    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert {"/", "/livez", "/readyz"} <= set(links)


def test_page_needs_nothing_inline(client: FlaskClient) -> None:
    page = Page(client.get("/").text)

    assert not [tag for tag, attributes in page.tags if tag == "style" or "style" in attributes]
    assert not [tag for tag, _ in page.tags if tag == "script"]


def test_address_of_a_static_file_follows_its_content(app: Flask, client: FlaskClient) -> None:
    page = Page(client.get("/").text)
    links = [str(attributes["href"]) for tag, attributes in page.tags if tag == "link"]
    [address] = [link for link in links if "style.css" in link]

    with client.get(address) as response:
        assert "?v=" in address
        assert response.status_code == 200
        assert response.mimetype == "text/css"


def test_static_file_is_kept_under_its_version_only(app: Flask, client: FlaskClient) -> None:
    with app.test_request_context():
        address = app.url_for("static", filename="style.css")
    plain, _, version = address.partition("?v=")
    found = []

    for path in (address, plain, f"{plain}?v={version[::-1]}"):
        with client.get(path) as response:
            found.append(response.headers["Cache-Control"])

    assert found == ["public, max-age=31536000, immutable", "no-cache", "no-cache"]


def test_file_that_a_view_sends_is_not_for_everybody(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/invoice", view_func=lambda: send_file(__file__))

    with client.get("/invoice") as response:
        assert response.headers["Cache-Control"] == "no-cache"


def test_missing_static_file_gets_no_version(app: Flask) -> None:
    with app.test_request_context():
        assert app.url_for("static", filename="missing.css") == "/static/missing.css"
