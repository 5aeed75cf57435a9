import secrets
from collections.abc import Callable

from flask import Flask
from flask.testing import FlaskClient


def post(client: FlaskClient, address: str) -> int:
    """Store a note from an address, and return the status of the response."""
    origin = {"REMOTE_ADDR": address}
    return client.post("/notes", json={"title": "A note"}, environ_base=origin).status_code


def test_each_address_has_its_limit(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATELIMIT_ENABLED=True).test_client()
    address, other = secrets.token_hex(8), secrets.token_hex(8)

    assert [post(client, address) for _ in range(11)] == [201] * 10 + [429]
    assert post(client, other) == 201


def test_refused_client_learns_when_to_come_again(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATELIMIT_ENABLED=True).test_client()
    note = {"json": {"title": "A note"}, "environ_base": {"REMOTE_ADDR": secrets.token_hex(8)}}
    *_, response = [client.post("/notes", **note) for _ in range(11)]

    assert response.content_type == "application/problem+json"
    assert 0 < int(response.headers["Retry-After"]) <= 61


def test_limit_goes_on_without_redis(make_app: Callable[..., Flask]) -> None:
    client = make_app(RATELIMIT_ENABLED=True, REDIS_URL="redis://127.0.0.1:1/0").test_client()
    address = secrets.token_hex(8)

    assert [post(client, address) for _ in range(11)] == [201] * 10 + [429]
