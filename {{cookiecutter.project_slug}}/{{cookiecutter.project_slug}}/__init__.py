"""The application: register your own blueprints in ``create_app()``."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

from . import (
    core,
{% if cookiecutter.frontend != "none" %}
    greeting,
{% endif %}
    home,
{% if cookiecutter.use_postgres %}
    models,  # noqa: F401 so that `flask db` knows all tables
    notes,
{% endif %}
)
{% if cookiecutter.use_accounts %}
from .account import bp as account_pages
from .account import resource as account_resource
from .core import accounts
{% endif %}
{% if cookiecutter.use_postgres %}
from .core.api import api
{% endif %}
{% if cookiecutter.use_accounts %}
from .users import User
{% endif %}


def create_app(settings: Mapping[str, Any] | None = None) -> Flask:
    """Create the application; ``settings`` override those of the environment."""
    app = Flask(__name__)
    app.config.from_object("config.settings")
    app.config.from_mapping(settings)
    core.init_app(app)
{% if cookiecutter.use_accounts %}
    accounts.init_app(app, User)
{% endif %}

    # Your blueprints, and your extensions with an init_app() of their own
{% if cookiecutter.frontend != "none" %}
    app.register_blueprint(greeting.bp)
{% endif %}
{% if cookiecutter.use_accounts %}
    app.register_blueprint(account_pages)
    api.register_blueprint(account_resource)
{% endif %}
{% if cookiecutter.use_postgres %}
    api.register_blueprint(notes.bp)
{% endif %}
    app.register_blueprint(home.bp)
    return app
