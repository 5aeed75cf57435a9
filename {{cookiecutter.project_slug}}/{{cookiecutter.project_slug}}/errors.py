"""HTTP errors: a problem document (RFC 9457) for programs, a page for people."""

from typing import Any

from flask import Flask, json, render_template, request
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.wrappers import Response


def init_app(app: Flask) -> None:
    """Answer every HTTP error, and every exception as a 500 that says nothing of its cause."""
    app.register_error_handler(HTTPException, answer)


def answer(error: HTTPException) -> Response:
    """Describe ``error`` in the form that the client asked for."""
    if isinstance(error, SecurityError):  # for a host that is not ours a page has no links
        return Response.force_type(error.get_response(), request.environ)
    return problem(error) if wants_json() else page(error)


def wants_json() -> bool:
    """Whether the client prefers JSON to HTML, or has just sent JSON itself."""
    accepted = request.accept_mimetypes
    kinds = ["text/html", "application/json", "application/problem+json"]
    return accepted.best_match(kinds, "text/html") != "text/html" or request.is_json


def problem(error: HTTPException, **members: Any) -> Response:
    """A problem document of ``error``, with further ``members`` if any."""
    response = Response.force_type(error.get_response(), request.environ)
    document = {"type": "about:blank", "title": error.name, "status": response.status_code}
    document |= {"detail": error.description, **members}
    response.data = json.dumps(document)
    response.content_type = "application/problem+json"
    return response


def page(error: HTTPException) -> Response:
    """A page about ``error``."""
    response = Response.force_type(error.get_response(), request.environ)
    response.data = render_template("error.html", error=error)
    return response
