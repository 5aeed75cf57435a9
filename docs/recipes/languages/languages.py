"""Languages of the pages: https://python-babel.github.io/flask-babel/."""

from flask import Blueprint, Flask, current_app, has_request_context, redirect, request
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale, gettext, lazy_gettext

LANGUAGES = ["en", "de"]  # the first is that of the texts in the code
# The names of errors, which are in Werkzeug: `pybabel extract` finds them here.
ERRORS = [
    lazy_gettext("Bad Request"),
    lazy_gettext("Forbidden"),
    lazy_gettext("Internal Server Error"),
    lazy_gettext("Not Found"),
    lazy_gettext("Service Unavailable"),
]

babel = Babel()
bp = Blueprint("languages", __name__)


def init_app(app: Flask) -> None:
    """Translate the texts of templates."""
    babel.init_app(app, default_locale=LANGUAGES[0], locale_selector=select)
    app.add_template_global(get_locale)
    app.add_template_filter(gettext, "translate")  # its result is escaped
    app.register_blueprint(bp)


def select() -> str:
    """Return the language that the user has chosen, or that of the browser."""
    if not has_request_context():
        return LANGUAGES[0]
    chosen = request.cookies.get("language")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(LANGUAGES, LANGUAGES[0])


@bp.get("/language/<code>")
def choose(code: str) -> ResponseReturnValue:
    """Store the choice of the user for a year; another language than these has no effect."""
    response = redirect("/")
    secure = current_app.config["SESSION_COOKIE_SECURE"]
    year = 365 * 24 * 60 * 60
    response.set_cookie("language", code, max_age=year, secure=secure, samesite="Lax")
    return response
