"""Static files with a version in their URL, so that browsers can cache them for a year.

The Dockerfile copies the files to ``static/v<digest of all files>/``. URLs refer to this directory,
and with them the relative URLs in stylesheets and scripts. In development, it does not exist.
"""

import re
from pathlib import Path
from typing import Any

from flask import Flask, Response, request


def init_app(app: Flask) -> None:
    """Make ``url_for("static", ...)`` add the version, and allow browsers to cache such a URL."""
    folder = Path(app.static_folder or "")
    version = "".join(f"{path.name}/" for path in folder.glob("v" + "[0-9a-f]" * 8))

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values["filename"] = version + values["filename"]

    @app.url_value_preprocessor
    def ignore_version(endpoint: str | None, values: dict[str, Any] | None) -> None:
        """Serve the current file: a page of the previous version may refer to the previous one."""
        if endpoint == "static" and values:
            values["filename"] = re.sub(r"^v[0-9a-f]{8}/", "", values["filename"])

    @app.after_request
    def allow_caching(response: Response) -> Response:
        if request.endpoint != "static" or response.status_code >= 400:
            return response
        if version and request.path.startswith(f"{app.static_url_path}/{version}"):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        if app.config["STATIC_HOST"]:
            response.headers["Access-Control-Allow-Origin"] = "*"  # for fonts and modules
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response
