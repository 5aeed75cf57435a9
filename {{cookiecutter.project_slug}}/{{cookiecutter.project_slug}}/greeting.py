"""What the example on the first page requests: replace it with yours."""

from flask import Blueprint, {{ "render_template, request" if cookiecutter.frontend in ["htmx", "hotwire"] else "request" }}

bp = Blueprint("greeting", __name__)


@bp.get("/greeting")
def show() -> {{ "str" if cookiecutter.frontend in ["htmx", "hotwire"] else "dict[str, str]" }}:
    """Greet {{ "with a part of a page" if cookiecutter.frontend in ["htmx", "hotwire"] else "in JSON" }}."""
    name = request.args.get("name") or "World"
    return {{ 'render_template("greeting.html", name=name)' if cookiecutter.frontend in ["htmx", "hotwire"] else '{"text": f"Hello, {name}!"}' }}
