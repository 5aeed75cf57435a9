import pytest
from flask import Flask
from flask.testing import FlaskClient

JSON = {"Accept": "application/json"}


@pytest.mark.parametrize("accept", ["text/html,*/*;q=0.8", "*/*", ""])
def test_browser_gets_a_page(client: FlaskClient, accept: str) -> None:
    response = client.get("/nope", headers={"Accept": accept})

    assert (response.status_code, response.mimetype) == (404, "text/html")
    assert "<h1>Not Found</h1>" in response.text
    assert response.headers["X-Request-ID"] in response.text


def test_long_accept_header_is_not_parsed(client: FlaskClient) -> None:
    spaces = client.get("/nope", headers={"Accept": "a/b" + " " * 100_000 + "x"})
    long = client.get("/nope", headers={"Accept": "application/json," + "a/b," * 125})

    assert (spaces.status_code, spaces.mimetype) == (404, "text/html")  # not after 40 seconds
    assert (long.status_code, long.mimetype) == (404, "text/html")


def test_api_client_gets_a_problem_document(client: FlaskClient) -> None:
    document = {"type": "about:blank", "title": "Method Not Allowed", "status": 405}
    document["detail"] = "The method is not allowed for the requested URL."
    problem = {"Accept": "application/problem+json"}

    for response in (
        client.delete("/livez", headers=JSON),
        client.delete("/livez", headers=problem),
        client.delete("/livez", json={}),
    ):
        assert (response.status_code, response.mimetype) == (405, "application/problem+json")
        assert response.json == document
        assert "GET" in response.headers["Allow"]


def test_exception_is_logged_but_not_shown(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/test", view_func=lambda: str(1 / 0))

    response = client.get("/test", headers=JSON)

    assert (response.status_code, response.mimetype) == (500, "application/problem+json")
    assert "ZeroDivisionError" not in response.text
    assert "ZeroDivisionError" in caplog.text
