"""Static files, compressed and with a version in their URL.

WhiteNoise serves them as they are when the service starts, before Flask gets the request: the
service neither logs it, nor gives it an ID. The version is a digest of all files: browsers and
proxies can store a file for a year, because after a change it has another URL. With ``--debug``,
Flask serves the files as they are now, and without a version.
"""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from flask import Flask, Response, request
from whitenoise import WhiteNoise

from .security import all_headers

VERSION = re.compile(r"^v[0-9a-f]{8}/")


def init_app(app: Flask) -> None:
    """Serve the folder ``static/``, and make ``url_for("static", ...)`` add the version."""
    if app.static_folder and not app.debug:
        serve(app, Path(app.static_folder))

    @app.url_value_preprocessor
    def ignore_version(endpoint: str | None, values: dict[str, Any] | None) -> None:
        """Serve the current file to pages of another release, which ask for another version."""
        if endpoint == "static" and values:
            values["filename"] = VERSION.sub("", values["filename"])

    @app.after_request
    def add_cdn_headers(response: Response) -> Response:
        if request.endpoint == "static":
            response.headers.update(cdn_headers(app))
        return response


def serve(app: Flask, folder: Path) -> None:
    """Let WhiteNoise serve the files with and without the version."""
    version = version_of(folder)
    versioned = f"{app.static_url_path}/{version}/"
    headers_of_all = {**all_headers(app), **cdn_headers(app)}

    def add_headers(headers: Headers, path: str, url: str) -> None:
        for name, value in headers_of_all.items():
            headers[name] = value
        headers["Cache-Control"] = "no-cache"
        if url.startswith(versioned):
            headers["Cache-Control"] = "public, max-age=31536000, immutable"

    files = WhiteNoise(app.wsgi_app, allow_all_origins=False, add_headers_function=add_headers)
    files.add_files(folder, prefix=app.static_url_path)
    files.add_files(folder, prefix=versioned)
    app.wsgi_app = files  # type: ignore[method-assign]

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values["filename"] = f"{version}/{values['filename']}"


def version_of(folder: Path) -> str:
    """Return a digest of the names and contents of all files."""
    digest = sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return f"v{digest.hexdigest()[:8]}"


def cdn_headers(app: Flask) -> dict[str, str]:
    """Return the headers that let pages of this service use the files of ``STATIC_HOST``."""
    if not app.config["STATIC_HOST"]:
        return {}
    return {
        "Access-Control-Allow-Origin": "*",  # for fonts and modules
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
