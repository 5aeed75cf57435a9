"""The debug toolbar, in debug mode only: the image for production does not hold it."""

from flask import Flask, Response


def init_app(app: Flask) -> None:
    """Show the toolbar on every page."""
    if not app.debug or app.testing:
        return

    from flask_debugtoolbar import DebugToolbarExtension

    app.config["DEBUG_TB_INTERCEPT_REDIRECTS"] = False
    DebugToolbarExtension(app)
    app.after_request(allow_inline)


def allow_inline(response: Response) -> Response:
    """Let the toolbar's own scripts and styles run, which stand in the page."""
    response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'"
    return response
