from collections.abc import Callable

from flask import Flask
from flask.testing import FlaskClient

from shop.mongo import database


def test_created_book_is_listed(app: Flask, client: FlaskClient) -> None:
    codes = [client.post("/books", json=book).status_code for book in ({"title": "Emma"}, {})]
    listed = client.get("/books").json
    with app.app_context():
        database().client.drop_database(database())

    assert codes == [201, 422]
    assert listed == {"items": [{"title": "Emma"}]}
    assert client.get("/readyz").status_code == 200


def test_unavailable_server_returns_503(make_app: Callable[..., Flask]) -> None:
    client = make_app(MONGO_URL="mongodb://127.0.0.1:1/shop").test_client()

    assert [client.get(path).status_code for path in ("/books", "/readyz")] == [503, 503]
