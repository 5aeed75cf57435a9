"""E-mail through the SMTP server in ``MAIL_URL``; without one, in development, into the log."""

import logging
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formataddr, formatdate, make_msgid
{% if not cookiecutter.use_worker %}
from threading import BoundedSemaphore
{% endif %}
from urllib.parse import SplitResult, unquote, urlsplit

{% if cookiecutter.use_worker %}
from celery import shared_task
{% endif %}
from flask import (
    Response,
    after_this_request,
    copy_current_request_context,
    current_app,
    g,
    has_request_context,
)
{% if cookiecutter.use_worker %}
from werkzeug.exceptions import ServiceUnavailable
{% endif %}

logger = logging.getLogger(__name__)
TIMEOUT = 5  # seconds to connect, and for each answer of the server
{% if not cookiecutter.use_worker %}
sending = BoundedSemaphore(2)  # a server that does not answer must not occupy all threads
{% endif %}


class NotSentError(Exception):
    """The server did not accept a mail; the text contains nothing of the mail."""


def send(recipient: str, subject: str, text: str) -> None:
    """Send a mail. In a request, that happens after the response, which takes no longer."""
    if not has_request_context():
        dispatch(recipient, subject, text)
        return
    request_id = g.request_id

    @copy_current_request_context
    def later() -> None:
        g.request_id = request_id
        dispatch(recipient, subject, text)

    @after_this_request
    def remember(response: Response) -> Response:
        response.call_on_close(later)
        return response


def dispatch(recipient: str, subject: str, text: str) -> None:
{% if cookiecutter.use_worker %}
    """Enqueue a job that sends a mail; nobody waits for an exception."""
    if not current_app.config["MAIL_URL"]:
        logger.info("mail to %s: %s: %s", recipient, subject, " ".join(text.split()))
        return
    try:
        deliver.delay(recipient, subject, text)
    except ServiceUnavailable:
        logger.error("a mail was not sent: see the error of the queue above")
{% else %}
    """Send a mail now; nobody waits for an exception."""
    if not current_app.config["MAIL_URL"]:
        logger.info("mail to %s: %s: %s", recipient, subject, " ".join(text.split()))
        return
    if not sending.acquire(blocking=False):
        logger.error("a mail was not sent: two others wait for the server in MAIL_URL")
        return
    try:
        deliver(recipient, subject, text)
    except NotSentError as error:
        logger.error("%s", error)
    finally:
        sending.release()
{% endif %}


{% if cookiecutter.use_worker %}
@shared_task(max_retries=20, retry_backoff_max=60)  # for about a quarter of an hour
{% endif %}
def deliver(recipient: str, subject: str, text: str) -> None:
    """Send a mail through the server."""
    sender = current_app.config["MAIL_FROM"]
    message = EmailMessage()
    message["From"] = formataddr((current_app.config["SERVICE_NAME"], sender))
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message.set_content(text)
    try:
        transmit(message, urlsplit(current_app.config["MAIL_URL"]), sender.rpartition("@")[2])
    except (OSError, smtplib.SMTPException) as error:
        # Without the answer of the server, which could repeat the mail and its link
        reason = f"{type(error).__name__} {getattr(error, 'smtp_code', '')}".strip()
        raise NotSentError(f"a mail was not sent ({reason}): check MAIL_URL") from None


def transmit(message: EmailMessage, url: SplitResult, domain: str) -> None:
    """Connect with TLS, unless the URL begins with ``smtp+insecure:``, and send a message."""
    tls = ssl.create_default_context()
    server: smtplib.SMTP
    if url.scheme == "smtps":
        address = (url.hostname or "", url.port or 465, domain)
        server = smtplib.SMTP_SSL(*address, timeout=TIMEOUT, context=tls)
    else:
        server = smtplib.SMTP(url.hostname or "", url.port or 587, domain, timeout=TIMEOUT)
    with server:
        if url.scheme == "smtp":
            server.starttls(context=tls)
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        server.send_message(message)
