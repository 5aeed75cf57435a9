import logging
{% if not cookiecutter.use_worker %}
import socket
import time
{% endif %}
from collections.abc import Callable

import pytest
from flask import Flask

from {{ cookiecutter.project_slug }}.core import mail

MakeApp = Callable[..., Flask]
LINK = "https://shop.example/account/reset/secret"


def send(app: Flask) -> None:
    with app.app_context():
        mail.send("ann@example.org", "Hello", f"This is your link:\n\n{LINK}\n")


def test_mail_is_logged_without_a_server(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    send(app)

    assert caplog.messages[-1] == f"mail to ann@example.org: Hello: This is your link: {LINK}"


def test_request_sends_a_mail_after_its_response(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    @app.get("/mail")
    def view() -> str:
        mail.send("ann@example.org", "Hello", LINK)
        return "sent"

    response = app.test_client().get("/mail")
    before = LINK in caplog.text
    response.close()

    assert (before, LINK in caplog.text) == (False, True)


{% if not cookiecutter.use_worker %}
def test_error_names_the_setting_and_not_the_link(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    send(make_app(MAIL_URL="smtp://127.0.0.1:1"))

    message = "a mail was not sent (ConnectionRefusedError): check MAIL_URL"
    assert [record.getMessage() for record in caplog.records] == [message]


def test_server_that_does_not_answer_is_given_up(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("{{ cookiecutter.project_slug }}.core.mail.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = time.monotonic()
        send(make_app(MAIL_URL=f"smtp+insecure://127.0.0.1:{server.getsockname()[1]}"))

    assert 0.2 <= time.monotonic() - begun < 2
    assert "a mail was not sent (SMTPServerDisconnected)" in caplog.text


def test_only_two_mails_wait_for_the_server(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    with mail.sending, mail.sending:
        send(make_app(MAIL_URL="smtp://127.0.0.1:1"))

    assert "two others wait" in caplog.text


{% endif %}
@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("smtps://shop:p%40ss@mail.example.com", True),
        ("smtp://mail.example.com:2525", True),
        ("smtp+insecure://[::1]:25", True),
        ("smtp+insecure://shop:secret@mail.example.com", False),
        ("mail.example.com", False),
        ("", False),
    ],
)
def test_setting_is_checked(
    problems: Callable[..., dict[str, str]], production: dict[str, str], url: str, valid: bool
) -> None:
    assert ("MAIL_URL" not in problems(production | {"MAIL_URL": url})) == valid
    assert "MAIL_FROM" in problems(production | {"MAIL_FROM": "Shop"})
