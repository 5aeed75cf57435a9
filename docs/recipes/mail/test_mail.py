import logging
from collections.abc import Callable
from email.errors import HeaderParseError

import pytest
from flask import Flask
from werkzeug.exceptions import ServiceUnavailable

from shop import mail


def test_message_is_logged_without_a_server(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    with app.app_context():
        mail.send("ann@example.org", "Hello", "Welcome.")

    assert "To: ann@example.org" in caplog.text
    assert "Welcome." in caplog.text


def test_server_is_unavailable(make_app: Callable[..., Flask]) -> None:
    app = make_app(MAIL_URL="smtp://127.0.0.1:1")

    with app.app_context(), pytest.raises(ServiceUnavailable):
        mail.send("ann@example.org", "Hello", "Welcome.")


@pytest.mark.parametrize(
    ("recipient", "subject"),
    [
        ("ann@example.org, ben@example.org", "Hello"),
        ("ann@example.org\nBcc: ben@example.org", "Hello"),
        ("ann@example.org", "Hello\nBcc: ben@example.org"),
    ],
)
def test_text_adds_no_recipient(app: Flask, recipient: str, subject: str) -> None:
    with app.app_context(), pytest.raises((HeaderParseError, ValueError)):
        mail.send(recipient, subject, "Welcome.")


@pytest.mark.parametrize("url", ["smtp.example.com", "http://smtp.example.com", "smtp://", ""])
def test_invalid_server_is_refused(
    production: dict[str, str], problems: Callable[..., dict[str, str]], url: str
) -> None:
    login = "smtps://user:pass%40word@smtp.example.com:465"

    assert problems(production | {"MAIL_URL": login}) == {}
    assert problems(production | {"MAIL_URL": url}).keys() == {"MAIL_URL"}
