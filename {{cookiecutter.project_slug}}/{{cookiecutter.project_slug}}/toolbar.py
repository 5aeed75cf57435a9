"""The debug toolbar, in debug mode only: the production image does not contain it."""

from flask import Flask, Response

NAMES = "headers.Header request_vars.RequestVars timer.Timer template.Template profiler.Profiler"
PANELS = [f"flask_debugtoolbar.panels.{name}DebugPanel" for name in NAMES.split()]


def init_app(app: Flask) -> None:
    """Show the toolbar on every page."""
    if app.debug and not app.testing:
        from flask_debugtoolbar import DebugToolbarExtension

        app.config.update(DEBUG_TB_INTERCEPT_REDIRECTS=False, DEBUG_TB_PANELS=PANELS)
        DebugToolbarExtension(app)
        app.after_request(allow_inline)


def allow_inline(response: Response) -> Response:
    """Allow the inline scripts and styles of the toolbar."""
    response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'"
    return response
