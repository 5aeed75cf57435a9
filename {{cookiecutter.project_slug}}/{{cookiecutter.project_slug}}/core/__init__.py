"""What every service needs, whatever it does: updates with the template change these modules.

They import none of your modules; yours import from here. Settings are in ``config/``.
"""

from flask import Flask

from . import (
{% if cookiecutter.use_postgres or cookiecutter.use_openapi %}
    api,
{% endif %}
    assets,
{% if cookiecutter.use_redis %}
    cache,
{% endif %}
{% if cookiecutter.use_postgres %}
    database,
{% endif %}
    errors,
    health,
    logs,
{% if cookiecutter.use_metrics %}
    metrics,
{% endif %}
{% if cookiecutter.use_openapi %}
    openapi,
{% endif %}
    security,
    toolbar,
{% if cookiecutter.use_worker %}
    worker,
{% endif %}
)


def init_app(app: Flask) -> None:
    """Set up each module; ``before_request`` runs in this order, ``after_request`` in reverse."""
    logs.init_app(app)
    security.init_app(app)
{% if cookiecutter.use_postgres or cookiecutter.use_openapi %}
    api.init_app(app)  # before errors: each registers a handler for all HTTP errors
{% endif %}
    errors.init_app(app)
    assets.init_app(app)
    app.register_blueprint(health.bp)
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
