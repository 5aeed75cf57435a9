"""Tasks and endpoints that tests add to a generated service with a worker."""

import os
import time

from celery import shared_task
from flask import Blueprint, current_app, request
from redis import Redis

from .core.database import db
from .models import Note

bp = Blueprint("jobs", __name__, url_prefix="/jobs")


def log_of_runs():
    return Redis.from_url(current_app.config["REDIS_URL"], decode_responses=True)


@shared_task
def record(name, seconds=0.02, padding=""):
    time.sleep(seconds)
    log_of_runs().rpush("runs", name)


@shared_task
def read_note(number):
    log_of_runs().rpush("runs", db.session.get_one(Note, int(number)).title)


@shared_task
def fail(name):
    log_of_runs().rpush("runs", name)
    raise RuntimeError("it always fails")


@shared_task
def end_worker(name):
    log_of_runs().rpush("runs", name)
    os._exit(9)


@shared_task
def never_end(name):
    log_of_runs().rpush("runs", name)
    while True:
        try:
            time.sleep(1)
        except Exception:  # not the soft limit either
            continue


@shared_task
def store(name):
    """Remember in the database that the job has run, which survives a restart of the host."""
    db.session.add(Note(title=name, body="a job"))
    db.session.commit()


@bp.post("/many/<prefix>/<int:number>")
@bp.post("/many/<prefix>/<int:number>/<task>")
def enqueue_many(prefix, number, task="record"):
    names = [f"{prefix}-{n}" for n in range(number)]
    for name in names:
        globals()[task].delay(name)
    return names, 202


@bp.post("/<task>/<name>")
def enqueue(task, name):
    job = globals()[task].delay(name, **(request.get_json(silent=True) or {}))
    return {"id": job.id}, 202


@bp.get("/runs")
def runs():
    return log_of_runs().lrange("runs", 0, -1)
