from collections.abc import Callable

import pytest
from flask import Flask, request, session
from flask.testing import FlaskClient

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Permitted-Cross-Domain-Policies": "none",
}
POLICY = {
    "default-src 'self'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/livez", 200), ("GET", "/nope", 404), ("PUT", "/livez", 405), ("POST", "/test", 413)],
)
def test_every_response_has_the_headers_once(
    app: Flask, client: FlaskClient, method: str, path: str, status: int
) -> None:
    app.add_url_rule("/test", methods=["POST"], view_func=lambda: request.get_data())

    response = client.open(path, method=method, data=b"x" * 100_001 if status == 413 else b"")

    assert response.status_code == status
    assert {name: response.headers.get_all(name) for name in HEADERS} == {
        name: [value] for name, value in HEADERS.items()
    }
    assert "Strict-Transport-Security" not in response.headers


def test_policy_allows_files_of_the_service_only(make_app: Callable[..., Flask]) -> None:
    client = make_app(STATIC_HOST="").test_client()

    [policy] = client.get("/livez").headers.get_all("Content-Security-Policy")

    assert set(policy.split("; ")) >= POLICY
    assert "unsafe" not in policy


def test_browsers_stay_with_https(client: FlaskClient) -> None:
    headers = client.get("/livez", base_url="https://localhost").headers

    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"


@pytest.mark.parametrize("name", ["Cache-Control", "cache-control"])
def test_view_can_set_a_header_itself(app: Flask, client: FlaskClient, name: str) -> None:
    app.add_url_rule("/test", view_func=lambda: ("", {name: "max-age=60"}))

    assert client.get("/test").headers.getlist("Cache-Control") == ["max-age=60"]


@pytest.mark.parametrize("path", ["/", "/livez", "/nope"])
def test_untrusted_host_is_rejected(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("proxies", "seen"),
    [
        (0, "127.0.0.1 http://localhost/test"),
        (1, "10.0.0.9 http://localhost:1111/test"),
        (2, "7.7.7.7 https://localhost:2222/test"),
    ],
)
def test_only_trusted_proxies_are_believed(
    make_app: Callable[..., Flask], proxies: int, seen: str
) -> None:
    app = make_app(TRUSTED_PROXIES=proxies)
    app.add_url_rule("/test", view_func=lambda: f"{request.remote_addr} {request.url}")
    headers = {
        "X-Forwarded-For": "6.6.6.6, 7.7.7.7, 10.0.0.9",
        "X-Forwarded-Host": "localhost:3333, localhost:2222, localhost:1111",
        "X-Forwarded-Proto": "http, https, http",
        "X-Forwarded-Port": "4444",
        "X-Forwarded-Prefix": "/evil",
        "X-Request-ID": "given-id",
    }

    response = app.test_client().get("/test", headers=headers)

    assert response.text == seen
    assert (response.headers["X-Request-ID"] == "given-id") is bool(proxies)


@pytest.mark.parametrize("given", ["x" * 7, "x" * 65, "new\tline-in-it", '"quoted-quoted"'])
def test_invalid_request_id_is_replaced(make_app: Callable[..., Flask], given: str) -> None:
    client = make_app(TRUSTED_PROXIES=1).test_client()

    response = client.get("/livez", headers={"X-Request-ID": given})

    assert len(response.headers["X-Request-ID"]) == 32


@pytest.mark.parametrize("given", ["x" * 8, "AZaz09._-" + "x" * 55])
def test_request_id_of_a_proxy_is_kept(make_app: Callable[..., Flask], given: str) -> None:
    client = make_app(TRUSTED_PROXIES=1).test_client()

    response = client.get("/livez", headers={"X-Request-ID": given})

    assert response.headers["X-Request-ID"] == given


def test_session_is_in_one_cookie_that_scripts_cannot_read(app: Flask) -> None:
    app.add_url_rule("/test", view_func=lambda: str(session.setdefault("id", request.args["id"])))
    client = app.test_client()

    first, second = (client.get(f"/test?id={n}") for n in "ab")

    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(first.headers["Set-Cookie"].split("; "))
    assert (first.text, second.text) == ("a", "a")
