"""Endpoints that fail. Tests add them to a generated service, as its owner would add a module."""

import os
import time
from importlib.metadata import distributions
from pathlib import Path

from flask import Blueprint, current_app, request, session

VERSION = 0  # tests change these two
START_SECONDS = 0

bp = Blueprint("faults", __name__, url_prefix="/faults")
FILE = Path("/tmp/faults")
TEXT = os.urandom(400_000).hex()  # no compression makes it small

time.sleep(START_SECONDS)


@bp.get("/version")
def version():
    return {"version": VERSION, "log_level": current_app.config["LOG_LEVEL"]}


@bp.get("/packages")
def packages():
    return {package.name: package.version for package in distributions()}


@bp.get("/sleep/<int:seconds>")
def sleep(seconds):
    time.sleep(seconds)
    return {"worker": os.getpid()}


@bp.get("/hang/<int:worker>")
def hang(worker):
    """Block for ever, if this is the worker; 0 is each worker."""
    while worker in (0, os.getpid()):
        time.sleep(3600)
    return {}


@bp.get("/session")
def count():
    """Return how many requests the session has seen."""
    session["count"] = session.get("count", 0) + 1
    return {"count": session["count"]}


@bp.get("/log/<int:lines>")
def log(lines):
    """Log lines of 8 kB."""
    for _ in range(lines):
        current_app.logger.warning("x" * 8_000)
    return {}


@bp.get("/memory/<int:mebibytes>")
def memory(mebibytes):
    return {"bytes": len(b"x" * (mebibytes << 20))}


@bp.get("/disk/<int:mebibytes>")
def disk(mebibytes):
    FILE.write_bytes(bytes(mebibytes << 20))
    return {}


@bp.post("/upload")
def upload():
    size = 0
    while data := request.stream.read(65_536):
        size += len(data)
    return {"bytes": size}


@bp.get("/seen")
def seen():
    return {"url": request.url, "root": request.script_root, "client": request.remote_addr}


@bp.get("/text")
def text():
    return TEXT, {"Content-Type": "text/plain"}
