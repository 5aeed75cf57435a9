"""Login with OpenID Connect: https://docs.authlib.org/en/stable/oauth2/client/web/flask.html."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from authlib.integrations.flask_client import OAuth, OAuthError
from flask import (
    Blueprint,
    Flask,
    current_app,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from joserfc.errors import JoseError
from requests import RequestException
from werkzeug.exceptions import BadRequest, ServiceUnavailable, Unauthorized

from .core import logs
from .core.errors import wants_json

bp = Blueprint("auth", __name__)
logger = logging.getLogger(__name__)
oauth = OAuth()
OPTIONS = {"scope": "openid profile", "code_challenge_method": "S256", "default_timeout": 5}
oauth.register("oidc", client_kwargs=OPTIONS)  # Authlib reads the settings OIDC_...


def init_app(app: Flask) -> None:
    """Register the views; the provider is contacted at the first login."""
    oauth.init_app(app)
    app.register_blueprint(bp)


def login_required(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
    """Let only users who are logged in call ``view``; a browser is sent to ``/login``."""

    @wraps(view)
    def protected(*args: Any, **values: Any) -> ResponseReturnValue:
        if "user" in session:
            logs.add_fields(user_id=session["user"]["id"])
            return view(*args, **values)
        if request.method != "GET" or wants_json():
            raise Unauthorized("Log in first.")
        session["next"] = request.url  # a parameter of /login could lead to another site
        return redirect(url_for("auth.login"))

    return protected


@bp.get("/login")
def login() -> Any:
    """Send the browser to the provider; an earlier attempt is forgotten."""
    target = session.get("next", "/")
    session.clear()
    session["next"] = target
    return oauth.oidc.authorize_redirect(url_for(".callback", _external=True))


@bp.get("/login/callback")
def callback() -> ResponseReturnValue:
    """Start a new session for the user of the ID token, which Authlib has validated."""
    claims = oauth.oidc.authorize_access_token()["userinfo"]
    target = session.get("next", "/")
    session.clear()
    session["user"] = {"id": claims["sub"], "name": claims.get("name", claims["sub"])}
    return redirect(target)


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    """Log out here, not at the provider: ``form-action`` blocks forms that lead to other sites."""
    session.clear()
    return redirect("/")


@bp.get("/profile")
@login_required
def profile() -> str:
    """Show who is logged in: an example of a page for users."""
    return render_template("profile.html")


@bp.errorhandler(JoseError)
@bp.errorhandler(OAuthError)
def refused(error: Exception) -> ResponseReturnValue:
    """Return 400, and log why the response of the provider is invalid."""
    logger.warning("login refused: %s", error)
    return current_app.handle_http_exception(BadRequest("The login failed. Please try again."))


@bp.errorhandler(RequestException)
def unavailable(error: Exception) -> ResponseReturnValue:
    """Return 503, and log why the provider did not respond."""
    logger.error("the OpenID provider is unavailable: %s", error)
    return current_app.handle_http_exception(ServiceUnavailable("The login is unavailable."))
