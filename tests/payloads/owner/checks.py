"""The tests of an owner: tests/test_extras.py of the project."""

import pytest
from flask.testing import FlaskClient


def test_extras(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    client.post("/login", data={"name": "ann"})

    assert client.get("/me").text == "ann sees 0 notes"
    assert client.get("/board/a").text.endswith(" http://localhost/board/a")
    assert client.get("/query?q=SELECT 1").json == client.get("/reports?q=SELECT 1").json == [1]
    assert client.get("/events").text.startswith("data: 0\n\ndata: 1\n\n")
    assert client.put("/uploads", data=b"1234").json == [4]
