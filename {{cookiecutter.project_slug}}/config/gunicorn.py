"""The server, sized from the limits of its container: ``gunicorn --config python:config.gunicorn``."""

import gc
import logging
import math
import os
import sys
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from config import settings

from {{ cookiecutter.project_slug }} import create_app, logs

CGROUP = Path("/sys/fs/cgroup")
MEMORY_PER_WORKER = 96 * 2**20  # bytes, generously
MOST_WORKERS = 8


def read_numbers(file: Path) -> list[int]:
    """The numbers in a file of the cgroup; none where it is missing or sets no limit."""
    words = file.read_text().split() if file.is_file() else []
    return [int(word) for word in words] if words and "max" not in words else []


def cpu_limit(cgroup: Path = CGROUP) -> float:
    """CPUs that this container may use: its quota (cgroup v2 or v1), at most those of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    available = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    quota = read_numbers(cgroup / "cpu.max") or [
        *read_numbers(cgroup / "cpu/cpu.cfs_quota_us"),
        *read_numbers(cgroup / "cpu/cpu.cfs_period_us"),
    ]
    return min(quota[0] / quota[1], available) if quota and quota[0] > 0 else available


def memory_limit(cgroup: Path = CGROUP) -> float:
    """Bytes that this container may use (cgroup v2 or v1); infinity without a limit."""
    limit = read_numbers(cgroup / "memory.max") or read_numbers(
        cgroup / "memory/memory.limit_in_bytes"
    )
    return limit[0] if limit and limit[0] < 2**60 else math.inf


def worker_count(cpus: float, memory: float) -> int:
    """One worker for each CPU, but two for safety, and no more than memory has room for."""
    return int(max(1, min(max(2, math.ceil(cpus)), memory // MEMORY_PER_WORKER, MOST_WORKERS)))


class RootLogger(Logger):
    """gunicorn's own lines in the form of all others; requests are logged by the service."""

    def setup(self, cfg: Config) -> None:
        """Leave formats and handlers to the root logger."""
        self.cfg = cfg
        self.error_log.propagate = True
        logs.configure(settings.LOG_LEVEL, settings.LOG_FORMAT)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Log nothing."""


def when_ready(server: Arbiter) -> None:
    """Say how the server was sized, and why; then it is ready to be copied into workers."""
    size = f"{workers} workers of {threads} threads each"
    limits = f"{cpu_limit():.3g} CPUs and {memory_limit() / 2**20:.4g} MiB of memory"
    limits = limits.replace("inf MiB of", "unlimited")
    logging.getLogger("gunicorn.error").info("%s, for %s", size, limits)
    gc.freeze()  # what is loaded stays: the collector shall neither look at it nor copy its pages


def pre_fork(server: Arbiter, worker: Worker) -> None:
    """In debug mode let the new worker read the service from disk, but not the libraries."""
    for name in list(sys.modules) if settings.DEBUG else []:
        if name.partition(".")[0] in {"config", create_app.__module__}:
            del sys.modules[name]


wsgi_app = "{{ cookiecutter.project_slug }}:create_app()"
bind = f"0.0.0.0:{settings.PORT}"
worker_class = "config.worker.BufferingWorker"
workers = settings.WEB_CONCURRENCY or worker_count(cpu_limit(), memory_limit())
threads = settings.WEB_THREADS
preload_app = not settings.DEBUG
graceful_timeout = settings.GRACEFUL_TIMEOUT
keepalive = 75  # seconds: longer than a proxy in front keeps its connections
# The heartbeat must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True
secure_scheme_headers: dict[str, str] = {}  # ProxyFix decides whom to believe
logger_class = RootLogger

if settings.DEBUG:
    create_app()  # loads the libraries, once
    reload = True
    workers = 1
    keepalive = 0
