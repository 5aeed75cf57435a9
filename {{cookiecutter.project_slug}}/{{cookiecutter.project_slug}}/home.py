"""The first page: replace it with yours."""

from flask import Blueprint, current_app, render_template
{% if cookiecutter.use_redis and not cookiecutter.use_postgres %}

from .cache import cache
{% endif %}

bp = Blueprint("home", __name__)


@bp.get("/")
def index() -> str:
    """Show the routes of this service."""
    return render_template({{ '"jobs.html", routes=routes(), package=__package__' if cookiecutter.use_worker else '"home.html", routes=routes()' }})


{% if cookiecutter.use_redis and not cookiecutter.use_postgres %}
@cache.memoize()
{% endif %}
def routes() -> dict[str, list[str]]:
    """Return the methods of each path, without static files and the debug toolbar."""
    methods: dict[str, set[str]] = {}
    for rule in current_app.url_map.iter_rules():
        if not rule.rule.startswith(("/_", "/static/")):
            methods.setdefault(rule.rule, set()).update(rule.methods or ())
    return {path: sorted(methods[path] - {"HEAD", "OPTIONS"}) for path in sorted(methods)}
