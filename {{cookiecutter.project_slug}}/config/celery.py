"""Settings of Celery, the modules with tasks, and the schedule.

See https://docs.celeryq.dev/en/stable/userguide/configuration.html.
"""

from celery.schedules import crontab

{% if cookiecutter.use_accounts %}
imports = [
    "{{ cookiecutter.project_slug }}.tasks",
    "{{ cookiecutter.project_slug }}.core.mail",
]
{% else %}
imports = ["{{ cookiecutter.project_slug }}.tasks"]
{% endif %}
beat_schedule = {  # in UTC
    "example": {
        "task": "{{ cookiecutter.project_slug }}.tasks.example",
        "schedule": crontab(),
        "args": ["once a minute"],
    },
}

# Seconds. By default, beat sleeps for up to five minutes. It writes its file only when it wakes up,
# and its health check looks at the age of that file.
beat_max_loop_interval = 30
task_publish_retry = False  # the request that enqueues a job would wait
worker_prefetch_multiplier = 1
# A message is deleted after its job has ended, so that a job whose worker is killed runs again.
task_acks_late = True
task_reject_on_worker_lost = True
task_retry_on_worker_lost = True  # no more than max_retries times
# Seconds. No job, and no delay of a retry, may exceed visibility_timeout: the job would run again.
task_soft_time_limit = 50
task_time_limit = 60
worker_soft_shutdown_timeout = 25  # jobs that are still running then return to the queue
broker_transport_options = {
    "visibility_timeout": 90,
    # kombu looks for messages to run again every 10 seconds × 1, and not × 10.
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 0.5,
    "socket_timeout": 0.9,  # kombu tries twice
    "max_retries": 1,
    "interval_start": 0,
}
