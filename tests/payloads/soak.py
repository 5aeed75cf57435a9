"""Endpoints for `make soak`: a form, an upload, a job, and texts that fill the cache."""

import functools
import os

from celery import shared_task
from flask import Blueprint, current_app, request
from redis import Redis

from .core.cache import cache

bp = Blueprint("soak", __name__, url_prefix="/soak")


@functools.cache
def queue():
    return Redis.from_url(current_app.config["QUEUE_URL"])


@shared_task
def run_job(number):
    queue().setbit("done", number, 1)


@cache.memoize()
def text(number):
    return os.urandom(8_000).hex()


@bp.post("/job/<int:number>")
def job(number):
    run_job.delay(number)
    return {}, 202


@bp.get("/cached/<int:number>")
def cached(number):
    return {"characters": len(text(number))}


@bp.post("/form")
def form():
    return {"characters": len(request.form["text"])}


@bp.post("/upload")
def upload():
    return {"bytes": len(request.files["file"].read())}
