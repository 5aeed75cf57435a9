"""The home page: replace it with yours."""

{% set cached = cookiecutter.use_redis and not cookiecutter.use_postgres %}
{% if not cached %}
from functools import lru_cache

{% endif %}
from flask import Blueprint, current_app, render_template
{% if cached %}

from .core.cache import cache
{% else %}
from werkzeug.routing import Map
{% endif %}

bp = Blueprint("home", __name__)


@bp.get("/")
def index() -> str:
    """Show the routes of this service."""
{% if cached %}
    shown = routes()
{% else %}
    shown = routes(current_app.url_map)
{% endif %}
    return render_template("home.html", routes=shown)


{% if cached %}
@cache.memoize()
def routes() -> dict[str, list[str]]:
    """Return the methods of each path, without static files and the debug toolbar."""
    url_map = current_app.url_map
{% else %}
@lru_cache(maxsize=1)  # they do not change while the service runs
def routes(url_map: Map) -> dict[str, list[str]]:
    """Return the methods of each path, without static files and the debug toolbar."""
{% endif %}
    methods: dict[str, set[str]] = {}
    for rule in url_map.iter_rules():
        if not rule.rule.startswith(("/_", "/static/")):
            methods.setdefault(rule.rule, set()).update(rule.methods or ())
    return {path: sorted(methods[path] - {"HEAD", "OPTIONS"}) for path in sorted(methods)}
