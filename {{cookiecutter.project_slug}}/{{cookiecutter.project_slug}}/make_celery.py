"""The application for Celery's commands: ``celery --app {{ cookiecutter.project_slug }}.make_celery``."""

from . import create_app

flask_app = create_app()
if not flask_app.config["QUEUE_URL"]:
    raise SystemExit("QUEUE_URL is not set: jobs run in the process that enqueues them.")
celery = flask_app.extensions["celery"]
# A worker waits for a queue that hangs: after a timeout, it would fetch no more jobs.
celery.conf.broker_transport_options["socket_timeout"] = None
