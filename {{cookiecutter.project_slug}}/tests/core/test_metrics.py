import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

TOKEN = "a-token-of-the-tests"


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"METRICS_TOKEN": TOKEN}


def scrape(client: FlaskClient, token: str = TOKEN) -> str:
    headers = {"Authorization": f"Bearer {token}", "Host": "10.0.0.7:8000"}
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200
    return response.text


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0


def test_requests_are_counted_by_route_and_status_without_health_checks(
    client: FlaskClient,
) -> None:
    ok = 'http_request_duration_seconds_count{method="GET",route="/",status="200"}'
    before = scrape(client)

    for path in ("/", "/livez", "/readyz", "/", "/"):
        client.get(path)

    after = scrape(client)
    assert value(after, ok) == value(before, ok) + 3
    assert not re.search('route="/(livez|readyz)"', after)
    assert value(after, "http_requests_active") == value(before, "http_requests_active")


def test_label_of_a_route_has_no_converters(client: FlaskClient) -> None:
    client.get("/static/none")

    assert 'route="/static/<filename>"' in scrape(client)


def test_paths_and_methods_of_clients_make_no_series(client: FlaskClient) -> None:
    client.get("/unknown")
    before = scrape(client).count("\n")

    for number in range(100):
        client.open(f"/unknown/{number}", method=f"METHOD{number}")
        client.open("/", method=f"METHOD{number}")

    assert scrape(client).count("\n") <= before + 20


def test_metrics_need_the_token(client: FlaskClient) -> None:
    for header in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", "Bearer \u00e9"):
        response = client.get("/metrics", headers={"Authorization": header})
        assert (response.status_code, response.data) == (401, b"")


def test_failed_dependency_is_reported(app: Flask, client: FlaskClient) -> None:
    app.extensions["health"] = {"good": lambda: None, "bad": lambda: 1 / 0}

    text = scrape(client)

    assert value(text, 'dependency_up{name="good"}') == 1
    assert value(text, 'dependency_up{name="bad"}') == 0
