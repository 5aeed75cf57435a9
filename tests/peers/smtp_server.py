"""An SMTP server, which accepts messages, refuses them, or hangs."""

import asyncio
import re
import socket
import ssl
from contextlib import contextmanager
from email import message_from_bytes, policy

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

PASSWORD = "p@ss:word/%"


class Mailbox:
    """What was accepted, after ``delay`` seconds; it refuses the next ``refusals`` recipients."""

    def __init__(self):
        self.messages, self.refusals, self.delay, self.encrypted = [], 0, 0, False

    def to(self, address):
        """Return the messages to an address."""
        return [message for recipients, message in self.messages if recipients == [address]]

    def link(self, address):
        """Return the path of the link in the newest message to an address."""
        text = self.to(address)[-1].get_content()
        return re.search(r"https?://[^/]+(/account/\S+)", text)[1]

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if self.refusals:
            self.refusals -= 1
            return "451 Try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        await asyncio.sleep(self.delay)
        message = message_from_bytes(envelope.content, policy=policy.default)
        self.messages.append((envelope.rcpt_tos, message))
        self.encrypted = bool(session.ssl)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    """Accept one password."""
    return AuthResult(success=(data.login, data.password) == (b"shop", PASSWORD.encode()))


def free_port(host):
    """Return a port that no program uses."""
    with socket.create_server((host, 0)) as server:
        return server.getsockname()[1]


@contextmanager
def mailbox(host, certificate=None):
    """Run the server; with a file for the certificate, it requires STARTTLS and a password."""
    port, box, options = free_port(host), Mailbox(), {}
    if certificate:
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(context)
        authority.cert_pem.write_to_path(certificate)
        options = {"tls_context": context, "require_starttls": True}
        options |= {"auth_required": True, "authenticator": authenticate}
    controller = Controller(box, hostname=host, port=port, **options)
    box.url = f"smtp://{host}:{port}"
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


@contextmanager
def silent_server(host):
    """Accept connections, and never reply; return the URL."""
    with socket.create_server((host, 0), backlog=64) as server:
        yield f"smtp://{host}:{server.getsockname()[1]}"
