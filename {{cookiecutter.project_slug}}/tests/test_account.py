from flask import Flask
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }}.core.database import db
from {{ cookiecutter.project_slug }}.users import User


def test_page_is_for_users(client: FlaskClient, user_client: FlaskClient) -> None:
    assert client.get("/account").location == "/account/login?next=/account"
    assert "ann@example.org" in user_client.get("/account").text


def test_resource_is_for_users(client: FlaskClient, user_client: FlaskClient) -> None:
    response = client.get("/account/me")

    assert response.status_code == 401
    assert response.content_type == "application/problem+json"
    assert (user_client.get("/account/me").json or {})["email"] == "ann@example.org"


def test_user_deletes_the_account(app: Flask, user: User, user_client: FlaskClient) -> None:
    assert "cannot be undone" in user_client.get("/account/delete").text

    page = user_client.post("/account/delete", follow_redirects=True).text

    assert "Your account is deleted." in page
    with app.app_context():
        assert db.session.get(User, user.id) is None
    assert user_client.get("/account").status_code == 302


def test_deleting_needs_a_password_that_was_entered_recently(user_client: FlaskClient) -> None:
    with user_client.session_transaction() as session:
        session["fs_paa"] -= 3_600

    response = user_client.post("/account/delete")

    assert response.location.startswith("/account/verify")
