from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient


def create(client: FlaskClient, count: int) -> list[int]:
    bodies = [client.post("/notes", json={"title": f"Note {n}"}).json for n in range(count)]
    return [body["id"] for body in bodies if body]


def listed(client: FlaskClient, query: str = "") -> list[int]:
    return [note["id"] for note in (client.get(f"/notes{query}").json or {})["items"]]


def test_created_note_can_be_read(client: FlaskClient) -> None:
    note = {"title": "ü" * 200, "body": "🚀" * 5_000}

    created = client.post("/notes", json=note)
    read = client.get(created.headers["Location"])

    assert (created.status_code, read.status_code) == (201, 200)
    assert (read.json or {}).items() >= note.items()
    assert (read.json or {})["created_at"] == (created.json or {})["created_at"]
    assert (read.json or {})["created_at"].endswith("+00:00")


def test_note_can_be_changed(client: FlaskClient) -> None:
    note = client.post("/notes", json={"title": "before", "body": "stays"}).json or {}
    titles = [item["title"] for item in (client.get("/notes").json or {})["items"]]

    changed = client.patch(f"/notes/{note['id']}", json={"title": "after"})
    titles += [item["title"] for item in (client.get("/notes").json or {})["items"]]

    assert (changed.status_code, changed.json) == (200, note | {"title": "after"})
    assert client.get(f"/notes/{note['id']}").json == changed.json
    assert titles == ["before", "after"]


def test_list_is_up_to_date_and_starts_with_the_newest(client: FlaskClient) -> None:
    lists = [listed(client)]
    first, second = create(client, 2)
    lists.append(listed(client))
    codes = [client.delete(f"/notes/{first}").status_code for _ in range(2)]
    lists.append(listed(client))

    assert lists == [[], [second, first], [second]]
    assert codes == [204, 404]
    assert client.get(f"/notes/{first}").status_code == 404


def test_list_has_pages(client: FlaskClient) -> None:
    numbers = create(client, 5)

    links = [client.get(f"/notes?page={n}&per_page=2").headers["Link"] for n in (1, 2, 3)]

    assert listed(client, "?page=2&per_page=2") == numbers[2:0:-1]
    assert ['rel="next"' in link for link in links] == [True, True, False]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "nul \0"}, "title"),
        ({"title": "half \ud83d"}, "title"),
        ({"title": "x", "body": "nul \0"}, "body"),
        ({"title": "x", "body": "x" * 10_001}, "body"),
        ({"title": "x", "id": 1}, "id"),
        ({"title": "x", "created_at": "2026-01-01T00:00:00+00:00"}, "created_at"),
    ],
)
def test_invalid_note_is_rejected(client: FlaskClient, body: Any, field: str) -> None:
    response = client.post("/notes", json=body)

    assert response.status_code == 422
    assert list((response.json or {})["errors"]) == [field]
    assert listed(client) == []


@pytest.mark.parametrize("number", [0, 2**31 - 1, 2**31, 2**63, "x"])
def test_unknown_note_is_not_found(client: FlaskClient, number: object) -> None:
    assert client.get(f"/notes/{number}").status_code == 404


@pytest.mark.parametrize("number", [0, 2**31 - 1])
def test_unknown_note_cannot_be_changed(client: FlaskClient, number: int) -> None:
    changed = client.patch(f"/notes/{number}", json={"title": "x"})
    deleted = client.delete(f"/notes/{number}")

    assert (changed.status_code, deleted.status_code) == (404, 404)


def test_seed_fills_an_empty_database_once(app: Flask, client: FlaskClient) -> None:
    before = listed(client)
    outputs = [app.test_cli_runner().invoke(args=["seed"]).output for _ in range(2)]

    assert outputs == ["Five notes added.\n", "The database already contains notes.\n"]
    assert (len(before), len(listed(client))) == (0, 5)
