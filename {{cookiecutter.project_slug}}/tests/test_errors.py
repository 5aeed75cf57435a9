import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse


def assert_problem(response: TestResponse, status: int, title: str) -> None:
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    assert response.json is not None
    assert response.json["status"] == status
    assert response.json["title"] == title


def test_person_gets_a_page(client: FlaskClient) -> None:
    response = client.get("/nope", headers={"Accept": "text/html,*/*;q=0.8"})

    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "<h1>Not Found</h1>" in response.text


def test_program_gets_a_problem_document(json_client: FlaskClient) -> None:
    assert_problem(json_client.get("/nope"), 404, "Not Found")


def test_client_without_a_preference_gets_a_page(client: FlaskClient) -> None:
    assert client.get("/nope", headers={"Accept": "*/*"}).mimetype == "text/html"


def test_client_that_sends_json_gets_json(client: FlaskClient) -> None:
    assert_problem(client.post("/nope", json={}), 404, "Not Found")


def test_wrong_method_is_told_the_right_ones(json_client: FlaskClient) -> None:
    response = json_client.delete("/livez")

    assert_problem(response, 405, "Method Not Allowed")
    assert "GET" in response.headers["Allow"]


def test_exception_stays_inside(
    app: Flask, json_client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/bug")
    def bug() -> str:
        raise ZeroDivisionError

    response = json_client.get("/bug")

    assert_problem(response, 500, "Internal Server Error")
    assert "ZeroDivisionError" not in response.text
    assert "ZeroDivisionError" in caplog.text
