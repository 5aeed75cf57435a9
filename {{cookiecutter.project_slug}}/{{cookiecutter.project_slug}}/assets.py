"""Static files under names that change with their content, so that browsers may keep them."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask


def init_app(app: Flask) -> None:
    """Make ``url_for("static", ...)`` add the version of the file as ``?v=``."""
    folder = Path(app.static_folder or "")

    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and "v" not in values:
            file = folder / values["filename"]
            values["v"] = digest(file) if app.debug else cached_digest(file)

    app.url_defaults(add_version)


def digest(file: Path) -> str | None:
    """The first eight hexadecimal digits of the SHA-256 of ``file``; none where it is missing."""
    return sha256(file.read_bytes()).hexdigest()[:8] if file.is_file() else None


cached_digest = cache(digest)
