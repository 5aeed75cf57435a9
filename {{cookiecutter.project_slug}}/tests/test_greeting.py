from flask.testing import FlaskClient


def test_greeting_contains_the_name(client: FlaskClient) -> None:
    assert "Hello, Ada!" in client.get("/greeting?name=Ada").text
    assert "Hello, World!" in client.get("/greeting").text
