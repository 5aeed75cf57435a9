"""E-mail, through the SMTP server in ``MAIL_URL``."""

import logging
import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import SplitResult, unquote, urlsplit

from flask import current_app
from werkzeug.exceptions import ServiceUnavailable

TIMEOUT = 10  # seconds to connect, and to wait for each reply

logger = logging.getLogger(__name__)


def send(recipient: str, subject: str, text: str) -> None:
    """Send a message, or raise 503; without a server, in development, log it."""
    message = compose(recipient, subject, text)
    url = urlsplit(current_app.config["MAIL_URL"])
    if not url.hostname:
        logger.info("this message is not sent: %s", message)
        return
    try:
        deliver(message, url)
    except OSError as error:  # also the base class of the exceptions of smtplib
        logger.error("an e-mail was not sent: %s", error)
        raise ServiceUnavailable("E-mail cannot be sent at the moment.", retry_after=60) from error


def compose(recipient: str, subject: str, text: str) -> EmailMessage:
    """Return a message to one address; a text with several, or with a line break, is an error."""
    sender = Address(addr_spec=current_app.config["MAIL_FROM"])
    message = EmailMessage()
    message["From"] = sender
    message["To"] = Address(addr_spec=recipient)
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.domain)
    message.set_content(text)
    return message


def deliver(message: EmailMessage, url: SplitResult) -> None:
    """Send a message; a password is sent only over TLS."""
    context = ssl.create_default_context()
    with connect(url, context) as server:
        if url.username:
            if url.scheme == "smtp":
                server.starttls(context=context)
            server.login(unquote(url.username), unquote(url.password or ""))
        server.send_message(message)


def connect(url: SplitResult, context: ssl.SSLContext) -> smtplib.SMTP:
    """Connect to the server."""
    host = url.hostname or ""
    if url.scheme == "smtps":
        return smtplib.SMTP_SSL(host, url.port or 465, timeout=TIMEOUT, context=context)
    return smtplib.SMTP(host, url.port or 25, timeout=TIMEOUT)
