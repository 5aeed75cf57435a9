"""What the example on the home page requests: replace it with yours."""

{% if cookiecutter.frontend in ["htmx", "hotwire"] %}
from flask import Blueprint, render_template, request
{% else %}
from flask import Blueprint, request
{% endif %}

bp = Blueprint("greeting", __name__)


@bp.get("/greeting")
{% if cookiecutter.frontend in ["htmx", "hotwire"] %}
def show() -> str:
    """Greet with a part of a page."""
    name = request.args.get("name") or "World"
    return render_template("greeting.html", name=name)
{% else %}
def show() -> dict[str, str]:
    """Greet in JSON."""
    name = request.args.get("name") or "World"
    return {"text": f"Hello, {name}!"}
{% endif %}
