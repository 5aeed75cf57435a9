from collections.abc import Callable

import pytest
from flask import Flask, request, session
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }}.security import HEADERS


def whoami() -> dict[str, str | None]:
    return {"address": request.remote_addr, "url": request.url}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/nope", 404), ("PUT", "/", 405), ("POST", "/echo", 413)],
)
def test_every_response_carries_the_headers(
    app: Flask, client: FlaskClient, method: str, path: str, status: int
) -> None:
    app.add_url_rule("/echo", methods=["POST"], view_func=lambda: request.get_data())

    response = client.open(path, method=method, data=b"x" * 100_001 if status == 413 else b"")

    assert response.status_code == status
    assert dict(HEADERS).items() <= dict(response.headers).items()
    assert "Strict-Transport-Security" not in response.headers


def test_view_may_set_its_own_header(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/own", view_func=lambda: ("", {"cache-control": "max-age=60"}))

    assert client.get("/own").headers.getlist("Cache-Control") == ["max-age=60"]


def test_https_is_made_to_stay(client: FlaskClient) -> None:
    response = client.get("/livez", base_url="https://localhost")

    assert response.headers["Strict-Transport-Security"].startswith("max-age=31536000")


@pytest.mark.parametrize("path", ["/", "/livez"])
def test_unknown_host_is_refused(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 400


FORGED = {
    "X-Forwarded-For": "6.6.6.6, 10.0.0.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "localhost",
    "X-Request-ID": "forged-request-id",
}


def test_client_cannot_forge_where_it_comes_from(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/whoami", view_func=whoami)

    response = client.get("/whoami", headers=FORGED)

    assert response.json == {"address": "127.0.0.1", "url": "http://localhost/whoami"}
    assert response.headers["X-Request-ID"] != FORGED["X-Request-ID"]


def test_one_proxy_is_believed_and_not_who_is_behind_it(make_app: Callable[..., Flask]) -> None:
    app = make_app(TRUSTED_PROXIES=1)
    app.add_url_rule("/whoami", view_func=whoami)

    response = app.test_client().get("/whoami", headers=FORGED)

    assert response.json == {"address": "10.0.0.9", "url": "https://localhost/whoami"}
    assert response.headers["X-Request-ID"] == FORGED["X-Request-ID"]


@pytest.mark.parametrize("forged", ["short", "x" * 65, "new\tline-in-it", '"quoted-quoted"'])
def test_odd_request_id_is_replaced(make_app: Callable[..., Flask], forged: str) -> None:
    client = make_app(TRUSTED_PROXIES=1).test_client()

    response = client.get("/livez", headers={"X-Request-ID": forged})

    assert len(response.headers["X-Request-ID"]) == 32


def test_session_is_there_in_the_next_request(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/login", view_func=lambda: session.update(user="me") or "")
    app.add_url_rule("/user", "user", lambda: session.get("user", "nobody"))

    users = [client.get(path).text for path in ("/user", "/login", "/user")]

    assert users == ["nobody", "", "me"]


def test_session_cookie_is_kept_from_scripts_and_other_sites(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(SESSION_COOKIE_SECURE=True)
    app.add_url_rule("/login", view_func=lambda: session.update(user="me") or "")

    cookie = app.test_client().get("/login").headers["Set-Cookie"]

    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
