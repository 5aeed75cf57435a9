"""Settings of gunicorn: see https://gunicorn.org/reference/settings/."""

import faulthandler
import gc
import math
import os
import signal
from pathlib import Path
from threading import get_ident
from typing import Any

from config import settings

# A worker is replaced when all of its threads have been busy with the same requests for so long:
# the timeout of gunicorn does not notice that.
HUNG_SECONDS = 240
busy: set[int] = set()  # the threads of this worker that handle a request


def cpu_limit(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the CPU limit of the container (cgroup v2), rounded up; without one, all CPUs."""
    quota = "max"
    if file.is_file():
        quota, period = file.read_text().split()
    if quota == "max":
        return os.cpu_count() or 1
    return math.ceil(int(quota) / int(period))


def when_ready(server: Any) -> None:
{% if cookiecutter.use_metrics and cookiecutter.use_kubernetes %}
    """Prepare the memory and the metrics before the workers start."""
    gc.freeze()  # otherwise, the garbage collector copies the memory that the workers share
    # When a container of a pod was killed, what it had in progress is still in /dev/shm.
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        for file in Path(folder).glob("gauge_live*.db"):
            file.unlink()
{% else %}
    """Keep the garbage collector from copying the memory that the workers share."""
    gc.freeze()
{% endif %}

{% if cookiecutter.use_metrics %}

def child_exit(server: Any, worker: Any) -> None:
    """Delete what a worker that has exited had in progress; its totals remain."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]

{% endif %}

def post_fork(server: Any, worker: Any) -> None:
    """Let SIGALRM print what each thread does, before it ends a worker."""
    faulthandler.register(signal.SIGALRM, chain=True)


def pre_request(worker: Any, request: Any) -> None:
    """If all threads are busy now, end this worker later; gunicorn then starts another one."""
    busy.add(get_ident())
    if len(busy) == threads:
        signal.alarm(HUNG_SECONDS)


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """Let this worker go on: one of its threads is free again."""
    busy.discard(get_ident())
    signal.alarm(0)


# In debug mode too, exceptions are logged, and core/errors.py handles them.
wsgi_app = "{{ cookiecutter.project_slug }}:create_app({'PROPAGATE_EXCEPTIONS': False})"
bind = f"0.0.0.0:{settings.PORT}"
worker_class = "gthread"
workers = settings.WEB_CONCURRENCY or max(2, cpu_limit())
threads = settings.WEB_THREADS
graceful_timeout = settings.GRACEFUL_TIMEOUT
keepalive = 75  # seconds; proxies close idle connections earlier, after 60
preload_app = True
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True  # gunicorn would create it under $HOME, which is read-only
# Only ProxyFix reads the headers of proxies: see TRUSTED_PROXIES.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}

if settings.DEBUG:  # one worker, which reloads when a file is saved
    preload_app = False
    reload = True
    workers = 1
    keepalive = 0  # a reload would wait for idle connections
