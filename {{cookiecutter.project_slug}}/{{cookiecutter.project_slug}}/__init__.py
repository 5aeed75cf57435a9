"""The application factory."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

from . import (
    assets,{{ "\n    cache," if cookiecutter.use_redis }}{{ "\n    database," if cookiecutter.use_postgres }}
    errors,{{ "\n    greeting," if cookiecutter.frontend != "none" }}
    health,
    home,
    logs,{{ "\n    metrics," if cookiecutter.use_metrics }}{{ "\n    notes," if cookiecutter.use_postgres }}{{ "\n    openapi," if cookiecutter.use_openapi }}
    security,
    toolbar,{{ "\n    worker," if cookiecutter.use_worker }}
)


def create_app(settings: Mapping[str, Any] | None = None) -> Flask:
    """Create the application; ``settings`` override those of the environment."""
    app = Flask(__name__)
    app.config.from_object("config.settings")
    app.config.from_mapping(settings)

    logs.init_app(app)
    security.init_app(app)
    errors.init_app(app)
    assets.init_app(app)
{% if cookiecutter.use_postgres %}
    database.init_app(app)
{% endif %}
{% if cookiecutter.use_redis %}
    cache.init_app(app)
{% endif %}
{% if cookiecutter.use_worker %}
    worker.init_app(app)
{% endif %}
{% if cookiecutter.use_metrics %}
    metrics.init_app(app)
{% endif %}
{% if cookiecutter.use_openapi %}
    openapi.init_app(app)
{% endif %}
    toolbar.init_app(app)
    app.register_blueprint(health.bp){{ "\n    app.register_blueprint(greeting.bp)" if cookiecutter.frontend != "none" }}
{% if cookiecutter.use_postgres %}
    app.register_blueprint(notes.bp)
{% endif %}
    app.register_blueprint(home.bp)
    return app
