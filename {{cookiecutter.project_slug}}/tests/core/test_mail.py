import logging
import socket
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


def test_error_names_the_setting_and_not_the_link(make_app: MakeApp) -> None:
    with (
        make_app(MAIL_URL="smtp://127.0.0.1:1").app_context(),
        pytest.raises(mail.NotSentError) as error,
    ):
        mail.deliver("ann@example.org", "Hello", LINK)

    assert str(error.value) == "a mail was not sent (ConnectionRefusedError): check MAIL_URL"


def test_server_that_does_not_answer_is_given_up(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("{{ cookiecutter.project_slug }}.core.mail.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"smtp+insecure://127.0.0.1:{server.getsockname()[1]}"
        with (
            make_app(MAIL_URL=url).app_context(),
            pytest.raises(mail.NotSentError, match="SMTPServerDisconnected|TimeoutError"),
        ):
            mail.deliver("ann@example.org", "Hello", LINK)


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
