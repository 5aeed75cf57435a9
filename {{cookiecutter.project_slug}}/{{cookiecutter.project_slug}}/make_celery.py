"""The application for Celery's commands: ``celery --app {{ cookiecutter.project_slug }}.make_celery``."""

from . import create_app

celery = create_app().extensions["celery"]
if celery.conf.task_always_eager:
    raise SystemExit("QUEUE_URL is not set: jobs run in the process that enqueues them.")
celery.conf.broker_transport_options["socket_timeout"] = None  # a timeout would stop the worker
