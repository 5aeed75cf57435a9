from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

APPLICATION = "https://app.example.com"  # see conftest.py
OTHER = "https://app.example.com.evil.example"


def test_application_may_read_responses_and_send_cookies(client: FlaskClient) -> None:
    headers = client.get("/missing", headers={"Origin": APPLICATION}).headers

    assert headers["Access-Control-Allow-Origin"] == APPLICATION
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert "X-Request-ID" in headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("origin", [OTHER, "https://example.com", "null"])
def test_other_origins_may_neither_read_nor_change(client: FlaskClient, origin: str) -> None:
    read = client.get("/", headers={"Origin": origin})
    changed = client.post("/", headers={"Origin": origin})

    assert "Access-Control-Allow-Origin" not in read.headers
    assert (read.status_code, changed.status_code) == (200, 403)


def test_without_an_application_there_is_no_header(make_app: Callable[..., Flask]) -> None:
    client = make_app(FRONTEND_ORIGIN="").test_client()

    assert "Access-Control-Allow-Origin" not in client.get("/", headers={"Origin": OTHER}).headers


@pytest.mark.parametrize("origin", [APPLICATION, "http://localhost", None])
def test_application_own_pages_and_programs_may_change(
    client: FlaskClient, origin: str | None
) -> None:
    response = client.post("/", headers={"Origin": origin} if origin else {})

    assert response.status_code == 405  # the home page accepts no POST: it was not refused before


def test_browser_may_send_a_token_and_json(client: FlaskClient) -> None:
    asked = {
        "Origin": APPLICATION,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    response = client.options("/", headers=asked)

    assert response.status_code == 200
    assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
    allowed = response.headers["Access-Control-Allow-Headers"]
    assert allowed == "authorization, content-type"


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", "*"])
def test_invalid_origin_is_refused(
    production: dict[str, str], problems: Callable[..., dict[str, str]], origin: str
) -> None:
    assert problems(production | {"FRONTEND_ORIGIN": APPLICATION}) == {}
    assert problems(production | {"FRONTEND_ORIGIN": origin}).keys() == {"FRONTEND_ORIGIN"}
