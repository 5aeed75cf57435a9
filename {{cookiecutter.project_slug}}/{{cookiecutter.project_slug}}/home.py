"""The first page: replace it with yours."""

from functools import cache

from flask import Blueprint, current_app, render_template
from werkzeug.routing import Map, Rule

bp = Blueprint("home", __name__)


@bp.get("/")
def index() -> str:
    """Show what this service answers."""
    return render_template("home.html", routes=routes(current_app.url_map))


@cache
def routes(url_map: Map) -> list[Rule]:
    """List all routes but those of static files, in the order of their paths."""
    rules = (rule for rule in url_map.iter_rules() if not rule.endpoint.endswith("static"))
    return sorted(rules, key=lambda rule: (rule.rule, sorted(rule.methods or ())))
