"""A single-page application on another origin: https://flask-cors.readthedocs.io."""

from flask import Flask, abort, current_app, request
from flask_cors import CORS

EXPOSED = ["Link", "Location", "Retry-After", "X-Request-ID"]  # browsers hide all other headers
SAFE = ["GET", "HEAD", "OPTIONS"]


def init_app(app: Flask) -> None:
    """Let ``FRONTEND_ORIGIN`` read responses and send cookies."""
    CORS(
        app,
        origins=app.config["FRONTEND_ORIGIN"] or [],
        supports_credentials=True,
        expose_headers=EXPOSED,
        max_age=600,  # seconds in which browsers do not ask again before each request
    )
    app.before_request(refuse_other_origins)


def refuse_other_origins() -> None:
    """Refuse changes by pages that are neither of this service nor of its application."""
    origin = request.headers.get("Origin")  # browsers send it with each request that is not safe
    allowed = [request.host_url.rstrip("/"), current_app.config["FRONTEND_ORIGIN"]]
    if origin and request.method not in SAFE and origin not in allowed:
        abort(403, "This origin may not change anything here.")
