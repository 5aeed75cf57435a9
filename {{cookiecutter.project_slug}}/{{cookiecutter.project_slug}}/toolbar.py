"""The debug toolbar, in debug mode only: the image for production does not hold it."""

from flask import Flask, Response

PANELS = [
    "versions.VersionDebugPanel",
    "timer.TimerDebugPanel",
    "headers.HeaderDebugPanel",
    "request_vars.RequestVarsDebugPanel",
    "config_vars.ConfigVarsDebugPanel",
    "template.TemplateDebugPanel",
    "logger.LoggingPanel",
    "route_list.RouteListDebugPanel",
    "profiler.ProfilerDebugPanel",
]


def init_app(app: Flask) -> None:
    """Show the toolbar on every page."""
    if not app.debug or app.testing:
        return

    from flask_debugtoolbar import DebugToolbarExtension

    app.config["DEBUG_TB_INTERCEPT_REDIRECTS"] = False
    app.config["DEBUG_TB_PANELS"] = [f"flask_debugtoolbar.panels.{name}" for name in PANELS]
    DebugToolbarExtension(app)
    app.after_request(allow_inline)


def allow_inline(response: Response) -> Response:
    """Let the toolbar's own scripts and styles run, which stand in the page."""
    response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'"
    return response
