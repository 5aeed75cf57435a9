"""What Flask-Security leaves to a service: how mails are sent, and passwords and codes checked."""

from typing import Any

import qrcode
from flask_security import MailUtil, PasswordUtil, Totp
from qrcode.image.svg import SvgPathImage

from . import mail


class Mails(MailUtil):
    """Sends the mails; the first line of a template is the subject."""

    def send_mail(
        self,
        template: str,
        subject: str,
        recipient: Any,
        sender: Any,
        body: str | None,
        html: str | None,
        **context: Any,
    ) -> None:
        """Send a mail."""
        first, _, text = (body or "").strip().partition("\n")
        mail.send(recipient, first, text.strip() + "\n")

    def normalize(self, email: str) -> str:
        """Return an address in lower case, as the column has it."""
        return super().normalize(email).lower()

    def validate(self, email: str) -> str:
        """Return the address of a new account, in lower case."""
        return super().validate(email).lower()


class Passwords(PasswordUtil):
    """Validates new passwords."""

    def validate(
        self, password: str, is_register: bool, **values: Any
    ) -> tuple[list[str] | None, str]:
        """Check the first 72 characters: zxcvbn refuses more."""
        errors, _ = super().validate(password[:72], is_register, **values)
        return errors, self.normalize(password)


class Codes(Totp):
    """Codes of an authenticator, each of which works once."""

    def generate_qrcode(self, username: str, totp: str) -> str:
        """Return an element that the Content-Security-Policy allows, and not a ``data:`` URL."""
        image = qrcode.make(self.get_totp_uri(username, totp), image_factory=SvgPathImage)
        return image.to_string(encoding="unicode")

    def get_last_counter(self, user: Any) -> int | None:
        """Return the number of the code that was used last."""
        return user.tf_last_counter

    def set_last_counter(self, user: Any, tmatch: Any) -> None:
        """Remember the number of a code."""
        user.tf_last_counter = tmatch.counter
