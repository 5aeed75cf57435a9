from collections.abc import Callable

import pytest
from flask import Flask, request, session
from flask.testing import FlaskClient

from {{ cookiecutter.project_slug }}.core.security import HEADERS


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/livez", 200), ("GET", "/nope", 404), ("PUT", "/livez", 405), ("POST", "/test", 413)],
)
def test_every_response_has_the_headers(
    app: Flask, client: FlaskClient, method: str, path: str, status: int
) -> None:
    app.add_url_rule("/test", methods=["POST"], view_func=lambda: request.get_data())

    response = client.open(path, method=method, data=b"x" * 100_001 if status == 413 else b"")

    assert response.status_code == status
    assert HEADERS.items() <= dict(response.headers).items()
    assert "Strict-Transport-Security" not in response.headers


def test_headers_allow_forms_and_forbid_inline_scripts(client: FlaskClient) -> None:
    headers = client.get("/livez", base_url="https://localhost").headers

    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Strict-Transport-Security"].startswith("max-age=31536000")


def test_view_can_set_a_header_itself(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/test", view_func=lambda: ("", {"cache-control": "max-age=60"}))

    assert client.get("/test").headers.getlist("Cache-Control") == ["max-age=60"]


@pytest.mark.parametrize("path", ["/", "/livez", "/nope"])
def test_untrusted_host_is_rejected(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(("proxies", "seen"), [(0, "127.0.0.1 http:"), (1, "10.0.0.9 https:")])
def test_proxy_must_be_trusted(make_app: Callable[..., Flask], proxies: int, seen: str) -> None:
    app = make_app(TRUSTED_PROXIES=proxies)
    app.add_url_rule("/test", view_func=lambda: f"{request.remote_addr} {request.url}")
    forged = {"X-Forwarded-For": "6.6.6.6, 10.0.0.9", "X-Forwarded-Proto": "https"}

    response = app.test_client().get("/test", headers=forged | {"X-Request-ID": "given-id"})

    assert response.text == f"{seen}//localhost/test"
    assert (response.headers["X-Request-ID"] == "given-id") is bool(proxies)


@pytest.mark.parametrize("given", ["short", "x" * 65, "new\tline-in-it", '"quoted-quoted"'])
def test_invalid_request_id_is_replaced(make_app: Callable[..., Flask], given: str) -> None:
    client = make_app(TRUSTED_PROXIES=1).test_client()

    response = client.get("/livez", headers={"X-Request-ID": given})

    assert len(response.headers["X-Request-ID"]) == 32


def test_session_cookie_is_protected(make_app: Callable[..., Flask]) -> None:
    app = make_app(SESSION_COOKIE_SECURE=True)
    app.add_url_rule("/test", view_func=lambda: str(session.setdefault("id", request.args["id"])))
    client = app.test_client()

    first, second = (client.get(f"/test?id={n}", base_url="https://localhost") for n in "ab")

    cookie = first.headers["Set-Cookie"].split("; ")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie)
    assert (first.text, second.text) == ("a", "a")
