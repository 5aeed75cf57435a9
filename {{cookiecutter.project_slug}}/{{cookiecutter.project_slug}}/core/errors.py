"""HTTP errors: a problem document (RFC 9457) for API clients, a page for browsers."""

from typing import Any

from flask import Flask, Response, json, make_response, render_template, request
from werkzeug.exceptions import HTTPException, SecurityError

LONGEST_ACCEPT = 500  # browsers send 150 characters; Werkzeug takes 0.2 s for 8,000 spaces


def init_app(app: Flask) -> None:
    """Handle every HTTP error, and every other exception as a 500 without details."""
    app.register_error_handler(HTTPException, answer)


def answer(error: HTTPException) -> Response:
    """Return ``error`` in the format that the client accepts."""
    untrusted = isinstance(request.routing_exception, SecurityError)  # no URL can be built
    if untrusted or wants_json():
        return problem(error)
    response = make_response(error)
    response.data = render_template("error.html", error=error)
    return response


def wants_json() -> bool:
    """Return whether the client prefers JSON to HTML, or has sent JSON."""
    if request.is_json:
        return True
    if len(request.headers.get("Accept", "")) > LONGEST_ACCEPT:
        return False
    types = ["text/html", "application/json", "application/problem+json"]
    return request.accept_mimetypes.best_match(types, "text/html") != "text/html"


def problem(error: HTTPException, **members: Any) -> Response:
    """Return a problem document for ``error``, with additional ``members``."""
    response = make_response(error)
    document = {"type": "about:blank", "title": error.name, "status": response.status_code}
    response.data = json.dumps(document | {"detail": error.description, **members})
    response.content_type = "application/problem+json"
    return response
