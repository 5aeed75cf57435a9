"""Accounts with Flask-Security: its settings are in ``config/settings.py``.

Its pages and mails are in ``templates/security/``. ``limits.py`` limits attempts.
"""

from datetime import UTC, datetime
from typing import Any

from flask import (
    Flask,
    abort,
    current_app,
    flash,
    g,
    make_response,
    redirect,
    request,
    session,
    url_for,
)
from flask_login import user_logged_out
from flask_security import (
    FSQLALiteUserDatastore,
    RoleMixin,
    Security,
    UserMixin,
    current_user,
    handle_csrf,
    hash_password,
    uia_email_mapper,
    user_authenticated,
    user_registered,
)
from flask_security.signals import change_email_confirmed, reset_password_instructions_sent
from flask_security.utils import send_mail
from flask_wtf import CSRFProtect
from sqlalchemy.exc import IntegrityError
from werkzeug.wrappers import Response

from . import limits
from .credentials import Codes, Mails, Passwords
from .database import db
from .errors import wants_json


def init_app(app: Flask, user_model: type[UserMixin]) -> None:
    """Add the pages of accounts; ``user_model`` is the table of the users."""
    identity = {"mapper": uia_email_mapper, "case_insensitive": False}
    app.config["SECURITY_USER_IDENTITY_ATTRIBUTES"] = [{"email": identity}]
    app.config["SECURITY_DATETIME_FACTORY"] = lambda: datetime.now(UTC)
    CSRFProtect(app)
    datastore = FSQLALiteUserDatastore(db, user_model, RoleMixin)
    security = Security(mail_util_cls=Mails, password_util_cls=Passwords, totp_cls=Codes)
    security.unauthn_handler(unauthenticated)
    security.render_json(render_json)
    security.init_app(app, datastore)
    limits.init_app(app)
    app.before_request(check_csrf_token)
    user_registered.connect(insert, app)
    user_authenticated.connect(renew_csrf_token, app)
    user_logged_out.connect(end_sessions, app)
    reset_password_instructions_sent.connect(take_as_long, app)
    change_email_confirmed.connect(tell_old_address, app)


def unauthenticated(mechanisms: Any = None, headers: Any = None) -> Response:
    """Return 401 for views that accept tokens; send others to the page to log in."""
    if "token" in (mechanisms or []) or wants_json():
        abort(401)
    flash("Log in to see this page.")
    return redirect(url_for("security.login", next=request.full_path.rstrip("?")))


def render_json(payload: dict[str, Any], code: int, headers: Any, user: Any) -> Response:
    """Return JSON without an empty user: that would tell that an address had no account yet."""
    if payload.get("user") == {}:
        del payload["user"]
    return make_response({"meta": {"code": code}, "response": payload}, code, headers)


def check_csrf_token() -> None:
    """Require it for each change by somebody who is logged in with a cookie, in all views."""
    if request.method in {"GET", "HEAD", "OPTIONS"} or "Authentication-Token" in request.headers:
        return
    if current_user.is_authenticated:
        handle_csrf("session")


def insert(app: Flask, **_: Any) -> None:
    """Insert the new user before the mail is sent: somebody may have pressed the button twice."""
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        abort(redirect(url_for("security.login")))


def renew_csrf_token(app: Flask, **_: Any) -> None:
    """Forget the token of the time before the log-in: somebody else may know it."""
    session.pop("csrf_token", None)
    g.pop("csrf_token", None)


def end_sessions(app: Flask, user: Any, **_: Any) -> None:
    """End all sessions and tokens of the account, because a copy of a cookie would still work."""
    if user and user.is_authenticated:
        datastore = current_app.extensions["security"].datastore
        datastore.set_uniquifier(user)
        datastore.commit()


def take_as_long(app: Flask, **_: Any) -> None:
    """Hash something, as Flask-Security does if nobody has the address."""
    hash_password("not-a-password")


def tell_old_address(app: Flask, user: Any, old_email: str, **_: Any) -> None:
    """Tell the owner of an account that it has another address."""
    send_mail("", old_email, "security/email/address_changed", user=user)
