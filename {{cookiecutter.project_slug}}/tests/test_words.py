from flask.testing import FlaskClient


def test_job_counts_the_words_of_a_note(client: FlaskClient) -> None:
    created = client.post("/notes", json={"title": "Note", "body": "one two three"})

    assert (client.get(created.headers["Location"]).json or {})["words"] == 3
