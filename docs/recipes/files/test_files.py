from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from flask.testing import FlaskClient


def signature(url: str) -> dict[str, str]:
    """Return the parameters of a signed URL."""
    return {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}


def test_upload_has_the_type_and_the_size(client: FlaskClient) -> None:
    response = client.post("/files", json={"type": "image/png", "size": 7})

    assert response.status_code == 201
    created: Any = response.json
    url = created["url"]
    assert created["key"] in urlsplit(url).path
    assert signature(url)["X-Amz-SignedHeaders"] == "content-length;content-type;host"
    assert signature(url)["X-Amz-Expires"] == "300"


@pytest.mark.parametrize(
    "file",
    [{}, [], {"type": "text/html", "size": 7}, {"type": "image/png", "size": 100_000_001}],
)
def test_other_files_are_refused(client: FlaskClient, file: Any) -> None:
    assert client.post("/files", json=file).status_code == 422


def test_download_is_stored_and_not_shown(client: FlaskClient) -> None:
    response = client.get(f"/files/{uuid4()}")

    assert response.status_code == 302
    assert signature(response.location)["response-content-disposition"] == "attachment"
    assert client.get("/files/another").status_code == 404
