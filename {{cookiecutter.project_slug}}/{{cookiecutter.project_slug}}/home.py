"""The first page: replace it with yours."""

from collections import defaultdict
from functools import cache

from flask import Blueprint, current_app, render_template
from werkzeug.routing import Map

bp = Blueprint("home", __name__)


@bp.get("/")
def index() -> str:
    """Show what this service answers."""
    return render_template("home.html", routes=routes(current_app.url_map))


@cache
def routes(url_map: Map) -> dict[str, list[str]]:
    """List the methods of each path, leaving out static files and the debug toolbar."""
    methods: dict[str, set[str]] = defaultdict(set)
    for rule in url_map.iter_rules():
        if not rule.rule.startswith(("/_", "/static/")):
            methods[rule.rule] |= (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return {path: sorted(methods[path]) for path in sorted(methods)}
