"""HTTP errors: a problem document (RFC 9457) for API clients, a page for browsers."""

from typing import Any

from flask import Flask, json, render_template, request
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.wrappers import Response


def init_app(app: Flask) -> None:
    """Handle every HTTP error, and every other exception as a 500 without details."""
    app.register_error_handler(HTTPException, answer)


def answer(error: HTTPException) -> Response:
    """Return ``error`` in the format that the client accepts."""
    if isinstance(error, SecurityError):  # an untrusted host, for which no URL can be built
        return Response.force_type(error.get_response(), request.environ)
    return problem(error) if wants_json() else page(error)


def wants_json() -> bool:
    """Return whether the client prefers JSON to HTML, or has sent JSON."""
    types = ["text/html", "application/json", "application/problem+json"]
    return request.accept_mimetypes.best_match(types, "text/html") != "text/html" or request.is_json


def problem(error: HTTPException, **members: Any) -> Response:
    """Return a problem document for ``error``, with additional ``members``."""
    response = Response.force_type(error.get_response(), request.environ)
    document = {"type": "about:blank", "title": error.name, "status": response.status_code}
    response.data = json.dumps(document | {"detail": error.description, **members})
    response.content_type = "application/problem+json"
    return response


def page(error: HTTPException) -> Response:
    """Return an HTML page for ``error``."""
    response = Response.force_type(error.get_response(), request.environ)
    response.data = render_template("error.html", error=error)
    return response
