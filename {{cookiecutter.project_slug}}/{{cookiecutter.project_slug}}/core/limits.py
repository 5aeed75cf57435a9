"""Limits of accounts: attempts are counted in the database, which all containers share."""

from ipaddress import ip_network
from threading import BoundedSemaphore
from time import time
from typing import Any

from flask import Flask, abort, current_app, g, request, session
from flask_security import current_user
from sqlalchemy import BigInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from .database import Base, db

MAILS = {"register", "forgot_password", "send_confirmation", "change_email"}
# A hash takes 19 MB and 30 ms of a CPU, which other requests need too.
hashing = BoundedSemaphore(2)

COUNT = text(
    """
    INSERT INTO attempts (name, number, until) VALUES (:name, 1, :until)
    ON CONFLICT (name) DO UPDATE SET
        number = CASE WHEN attempts.until < :now THEN 1 ELSE attempts.number + 1 END,
        until = CASE WHEN attempts.until < :now THEN :until ELSE attempts.until END
    RETURNING number, until
    """
)
DELETE_OLD = text("DELETE FROM attempts WHERE until < :now")


class Attempts(Base):
    """How many attempts there were, and until when they count."""

    __tablename__ = "attempts"

    name: Mapped[str] = mapped_column(String(400), primary_key=True)
    number: Mapped[int]
    until: Mapped[int] = mapped_column(BigInteger, index=True)  # seconds since 1970


def init_app(app: Flask) -> None:
    """Limit what is sent to the pages of Flask-Security."""
    app.before_request(limit_attempts)
    app.teardown_request(release_hashing)


def limit_attempts() -> None:
    """Refuse too many hashes at once (503), and too many attempts (429)."""
    view = (request.endpoint or "").removeprefix("security.")
    if request.blueprint != "security" or request.method != "POST" or view == "logout":
        return
    sent = sent_values()
    if not hashing.acquire(blocking=False):
        raise ServiceUnavailable("Too many people are logging in.", retry_after=1)
    g.is_hashing = True
    count("address", network(request.remote_addr or ""))
    if account := account_of_request(view, sent):
        count("mail" if view in MAILS else "account", account)


def release_hashing(error: BaseException | None) -> None:
    """Let another request hash a password."""
    if g.pop("is_hashing", False):
        hashing.release()


def network(address: str) -> str:
    """Return an address; of IPv6, one client has a whole network."""
    return str(ip_network(f"{address}/64", strict=False)) if ":" in address else address


def account_of_request(view: str, sent: Any) -> str | None:
    """Return whose account a request is about: an address that it contains, or a user's ID."""
    if view == "login" or view in MAILS:
        email = sent.get("email")
        return normalized(email) if isinstance(email, str) else None
    if current_user.is_authenticated:
        return current_user.fs_uniquifier
    return session.get("tf_user_id")  # after the password, before the second factor


def sent_values() -> Any:
    """Return the fields of the form, or of a JSON object: Flask-Security expects no other."""
    if not request.is_json:
        return request.form
    sent = request.get_json()
    if not isinstance(sent, dict):
        abort(400, "The JSON has to be an object.")
    return MultiDict(sent)


def normalized(email: str) -> str | None:
    """Return the address that Flask-Security looks up; it refuses an invalid one itself."""
    try:
        return current_app.extensions["security"].mail_util.normalize(email)
    except ValueError:
        return None


def count(kind: str, whose: str) -> None:
    """Count an attempt, and refuse it if there were too many."""
    limit, seconds = current_app.config["ACCOUNT_LIMITS"][kind]
    now = int(time())
    values = {"name": f"{kind} {whose}", "now": now, "until": now + seconds}
    number, until = db.session.execute(COUNT, values).one()
    db.session.commit()  # before the attempt, so that attempts at the same time count too
    if number == 1:
        db.session.execute(DELETE_OLD, {"now": now})
        db.session.commit()
    if number > limit:
        raise TooManyRequests("There were too many attempts.", retry_after=max(1, until - now))
