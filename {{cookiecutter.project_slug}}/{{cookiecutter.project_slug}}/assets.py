"""Static files under names that change with their content, so that browsers may keep them."""

from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, Response, request


def init_app(app: Flask) -> None:
    """Make ``url_for("static", ...)`` add ``?v=``, the version under which a file is kept."""
    version: Callable[[str], str | None] = partial(digest, Path(app.static_folder or ""))
    if not app.debug:
        version = cache(version)

    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and "v" not in values:
            values["v"] = version(values["filename"])

    def serve(filename: str) -> Response:
        response = app.send_static_file(filename)
        if not app.debug and request.args.get("v") == version(filename):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    app.url_defaults(add_version)
    app.view_functions["static"] = serve


def digest(folder: Path, name: str) -> str | None:
    """The first eight hexadecimal digits of the SHA-256 of a file; none where it is missing."""
    file = folder / name
    return sha256(file.read_bytes()).hexdigest()[:8] if file.is_file() else None
