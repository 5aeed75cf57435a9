import re
from collections.abc import Callable
from time import perf_counter, sleep
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


@pytest.fixture
def app(app: Flask) -> Flask:
    @app.get("/test")
    def test() -> str:
        sleep(0.05)
        return "slept"

    return app


def test_requests_are_counted_by_route_and_status_without_health_checks(
    client: FlaskClient,
) -> None:
    ok = 'http_request_duration_seconds_count{method="GET",route="/test",status="200"}'
    before = scrape(client)

    for path in ("/test", "/livez", "/readyz", "/test", "/test"):
        client.get(path)

    after = scrape(client)
    assert value(after, ok) == value(before, ok) + 3
    assert not re.search('route="/(livez|readyz)"', after)
    assert value(after, "http_requests_active") == value(before, "http_requests_active")


def test_durations_are_those_of_the_requests(client: FlaskClient) -> None:
    total = 'http_request_duration_seconds_sum{method="GET",route="/test",status="200"}'
    before = value(scrape(client), total)
    begin = perf_counter()
    client.get("/test")
    took = perf_counter() - begin

    assert 0.05 <= value(scrape(client), total) - before <= took


def test_request_in_progress_is_active(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/active", "active", lambda: scrape(app.test_client()))

    texts = [client.get("/active").text, scrape(client)]

    assert [value(text, "http_requests_active") for text in texts] == [1, 0]


def test_label_of_a_route_has_no_converters(client: FlaskClient) -> None:
    client.get("/static/none")

    assert 'route="/static/<filename>"' in scrape(client)


def test_paths_and_methods_of_clients_make_no_series(client: FlaskClient) -> None:
    client.get("/unknown")
    before = scrape(client).count("\n")

    for number in range(100):
        client.open(f"/unknown/{number}", method=f"METHOD{number}")
        client.open("/test", method=f"METHOD{number}")

    assert scrape(client).count("\n") <= before + 20


def test_metrics_need_the_token(client: FlaskClient) -> None:
    for header in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", "Bearer \u00e9"):
        response = client.get("/metrics", headers={"Authorization": header})
        assert (response.status_code, response.data) == (401, b"")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/metrics").status_code == 401


def test_metrics_need_no_token_if_there_is_none(make_app: Callable[..., Flask]) -> None:
    assert make_app(METRICS_TOKEN=None).test_client().get("/metrics").status_code == 200


def test_failed_dependency_is_reported(app: Flask, client: FlaskClient) -> None:
    app.extensions["health"] = {"good": lambda: None, "bad": lambda: 1 / 0}

    text = scrape(client)

    assert value(text, 'dependency_up{name="good"}') == 1
    assert value(text, 'dependency_up{name="bad"}') == 0


def test_token_has_to_be_strong(production: dict[str, str], problems: Any) -> None:
    assert problems(production) == {}
    assert problems(production | {"METRICS_TOKEN": "x" * 32}).keys() == {"METRICS_TOKEN"}
    assert problems({"APP_ENV": "development", "SECRET_KEY": "short"}) == {}
