"""The debug toolbar, in debug mode only: the production image does not contain it."""

import re

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import SecurityError

PANELS = [
    "flask_debugtoolbar.panels.headers.HeaderDebugPanel",
    "flask_debugtoolbar.panels.request_vars.RequestVarsDebugPanel",
    "flask_debugtoolbar.panels.timer.TimerDebugPanel",
    "flask_debugtoolbar.panels.template.TemplateDebugPanel",
    "flask_debugtoolbar.panels.profiler.ProfilerDebugPanel",
]


def init_app(app: Flask) -> None:
    """Show the toolbar on every page."""
    if app.debug and not app.testing:
        from flask_debugtoolbar import DebugToolbarExtension

        app.before_request(refuse_untrusted_host)
        app.config.update(DEBUG_TB_INTERCEPT_REDIRECTS=False, DEBUG_TB_PANELS=PANELS)
        DebugToolbarExtension(app)
        app.after_request(allow_inline)
        app.after_request(close)


def refuse_untrusted_host() -> None:
    """Respond with 400 before the toolbar builds a URL, which would fail."""
    if isinstance(request.routing_exception, SecurityError):
        raise request.routing_exception


def allow_inline(response: Response) -> Response:
    """Allow the inline scripts and styles of the toolbar; a hash in the policy forbids them."""
    policy = current_app.extensions["security_headers"]["Content-Security-Policy"]
    without_hashes = re.sub(r" 'sha256-[^']+'", "", policy)
    response.headers["Content-Security-Policy"] = without_hashes.replace(
        "src 'self'", "src 'self' 'unsafe-inline'"
    )
    return response


def close(response: Response) -> Response:
    """Show the toolbar closed at first; the browser then remembers whether it is open."""
    if "toolbar" not in request.cookies:
        response.set_cookie("toolbar", "shown")
        response.set_cookie("fldt", "hide")  # its own cookie, which it deletes when it is opened
    return response
