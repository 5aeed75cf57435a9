"""Static files with a version in their URL, so that browsers can cache them for a year."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, Response, request


def init_app(app: Flask) -> None:
    """Make ``url_for("static", ...)`` add ``?v=``; not in debug mode, where files change."""
    folder = Path(app.static_folder or "")
    paths = [] if app.debug else [path for path in folder.rglob("*") if path.is_file()]
    digests = {path: sha256(path.read_bytes()).hexdigest() for path in paths}
    versions = {path.relative_to(folder).as_posix(): digest[:8] for path, digest in digests.items()}

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and values["filename"] in versions:
            values.setdefault("v", versions[values["filename"]])

    @app.after_request
    def allow_caching(response: Response) -> Response:
        version = versions.get((request.view_args or {}).get("filename", ""))
        if request.endpoint == "static" and request.args.get("v", "") == version:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
