from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from werkzeug.http import parse_options_header


def create(client: FlaskClient, count: int) -> list[int]:
    bodies = [client.post("/notes", json={"title": f"Note {n}"}).json for n in range(count)]
    return [body["id"] for body in bodies if body]


def links(client: FlaskClient, path: str) -> dict[str, str]:
    """The addresses in the ``Link`` header, by relation."""
    found = [parse_options_header(link) for link in client.get(path).headers["Link"].split(", ")]
    return {options["rel"]: address.strip("<>") for address, options in found}


def test_note_that_was_created_can_be_read(client: FlaskClient) -> None:
    created = client.post("/notes", json={"title": "Milk", "body": "Two litres"})
    read = client.get(created.headers["Location"])

    assert created.status_code == 201
    assert read.status_code == 200
    assert read.json == created.json
    assert read.json is not None
    assert (read.json["title"], read.json["body"]) == ("Milk", "Two litres")
    assert read.json["created_at"].endswith("+00:00")


def test_note_that_was_deleted_is_gone(client: FlaskClient) -> None:
    [number] = create(client, 1)

    statuses = [
        client.delete(f"/notes/{number}").status_code,
        client.get(f"/notes/{number}").status_code,
        client.delete(f"/notes/{number}").status_code,
    ]

    assert statuses == [204, 404, 404]


def test_list_begins_with_the_newest(client: FlaskClient) -> None:
    numbers = create(client, 3)

    response = client.get("/notes").json

    assert response is not None
    assert [note["id"] for note in response["items"]] == numbers[::-1]


def test_list_shows_what_was_written_last(client: FlaskClient) -> None:
    counts = []
    for _ in range(3):
        create(client, 1)
        counts.append(len((client.get("/notes").json or {})["items"]))

    assert counts == [1, 2, 3]


def test_list_comes_in_pages(client: FlaskClient) -> None:
    numbers = create(client, 5)

    middle = client.get("/notes?page=2&per_page=2").json

    assert middle is not None
    assert [note["id"] for note in middle["items"]] == numbers[2:0:-1]
    assert links(client, "/notes?page=2&per_page=2") == {
        "first": "/notes?page=1&per_page=2",
        "prev": "/notes?page=1&per_page=2",
        "next": "/notes?page=3&per_page=2",
    }
    assert "next" not in links(client, "/notes?page=3&per_page=2")
    assert "prev" not in links(client, "/notes?page=1&per_page=2")


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page=" + "9" * 30, "per_page=0", "per_page=101", "per_page=-1"]
)
def test_page_that_cannot_be_is_refused(client: FlaskClient, query: str) -> None:
    response = client.get(f"/notes?{query}")

    assert response.status_code == 422
    assert response.json is not None
    assert list(response.json["errors"]) == [query.split("=")[0]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": 7}, "title"),
        ({"title": "nul \0"}, "title"),
        ({"title": "half \ud83d"}, "title"),
        ({"title": "x", "body": "x" * 10_001}, "body"),
        ({"title": "x", "body": None}, "body"),
        ({"title": "x", "colour": "red"}, "colour"),
        (["title"], "_schema"),
    ],
)
def test_note_that_is_not_valid_is_refused(client: FlaskClient, body: Any, field: str) -> None:
    response = client.post("/notes", json=body)

    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert response.json is not None
    assert list(response.json["errors"]) == [field]


@pytest.mark.parametrize("title", ["x" * 200, "Ünï 🚀", "<b>", "'; DROP TABLE notes; --"])
def test_text_comes_back_as_it_was(client: FlaskClient, title: str) -> None:
    response = client.post("/notes", json={"title": title, "body": title * 50})

    assert response.json is not None
    assert (response.json["title"], response.json["body"]) == (title, title * 50)


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b"title=x", "application/x-www-form-urlencoded", 415),
        (b'{"title": "' + b"x" * 100_000 + b'"}', "application/json", 413),
    ],
)
def test_body_that_cannot_be_read_is_refused(
    client: FlaskClient, data: bytes, kind: str, status: int
) -> None:
    response = client.post("/notes", data=data, content_type=kind)

    assert response.status_code == status
    assert response.mimetype == "application/problem+json"


@pytest.mark.parametrize("number", [0, 2**31 - 1, 2**31, 2**63, "x"])
def test_number_that_is_no_note_is_not_found(client: FlaskClient, number: object) -> None:
    assert client.get(f"/notes/{number}").status_code == 404


def test_database_that_fails_is_a_503(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(Engine, "connect", fail)

    response = client.get("/notes", headers={"Accept": "application/json"})

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert "server closed" not in response.text
