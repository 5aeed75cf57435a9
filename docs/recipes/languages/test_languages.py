from collections.abc import Iterator
from gettext import GNUTranslations
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po
from flask import Flask, abort
from flask.testing import FlaskClient

from shop.languages import LANGUAGES

TRANSLATIONS = Path(__file__).parents[1] / "shop/translations"


def messages(language: str) -> Iterator[Message]:
    """Yield the texts in the file for people."""
    with (TRANSLATIONS / language / "LC_MESSAGES/messages.po").open("rb") as file:
        yield from (message for message in read_po(file) if message.id)


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_each_text_is_translated_and_compiled(language: str) -> None:
    with (TRANSLATIONS / language / "LC_MESSAGES/messages.mo").open("rb") as file:
        compiled = GNUTranslations(file)

    assert [
        message.id for message in messages(language) if message.fuzzy or not message.string
    ] == []
    for message in messages(language):
        if isinstance(message.id, str):
            assert compiled.gettext(message.id) == message.string, "run pybabel compile"


@pytest.mark.parametrize(
    ("accepted", "lang", "name"),
    [("de-AT,de;q=0.9,en;q=0.8", "de", "Nicht gefunden"), ("fr", "en", "Not Found")],
)
def test_page_is_in_the_language_of_the_browser(
    client: FlaskClient, accepted: str, lang: str, name: str
) -> None:
    page = client.get("/missing", headers={"Accept-Language": accepted}).text

    assert f'<html lang="{lang}">' in page
    assert f"<h1>{name}</h1>" in page


def test_user_chooses_a_language(client: FlaskClient) -> None:
    assert client.get("/language/de").location == "/"
    assert "Nicht gefunden" in client.get("/missing").text
    client.get("/language/nope")
    assert "Not Found" in client.get("/missing").text


def test_description_of_an_error_is_escaped(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/bad", view_func=lambda: abort(400, "<b>100% %(wrong)s"))

    assert "&lt;b&gt;100% %(wrong)s" in client.get("/bad").text
