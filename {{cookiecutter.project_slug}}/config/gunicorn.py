"""Settings of gunicorn, as https://gunicorn.org/reference/settings/ explains them."""

import gc
import math
import os
from pathlib import Path
from typing import Any

from config import settings


def cpu_limit(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """CPUs that the container may use (cgroup v2), rounded up; without a limit, all."""
    quota, _, period = file.read_text().partition(" ") if file.is_file() else ("max", "", "")
    return os.cpu_count() or 1 if quota == "max" else math.ceil(int(quota) / int(period))


def when_ready(server: Any) -> None:
    """Let the garbage collector skip what the workers share, which would copy its memory."""
    gc.freeze()


# In debug mode too, an exception is logged and answered by errors.py.
wsgi_app = "{{ cookiecutter.project_slug }}:create_app({'PROPAGATE_EXCEPTIONS': False})"
bind = f"0.0.0.0:{settings.PORT}"
worker_class = "gthread"
workers = settings.WEB_CONCURRENCY or max(2, cpu_limit())
threads = settings.WEB_THREADS
graceful_timeout = settings.GRACEFUL_TIMEOUT
keepalive = 75  # seconds: longer than proxies keep an idle connection, which is 60
preload_app = True
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True  # it would be a file under $HOME, on a read-only file system
# Headers of proxies are read by ProxyFix only: see TRUSTED_PROXIES.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}

if settings.DEBUG:  # one worker, without idle connections to wait for, is restarted on save
    preload_app, reload, workers, keepalive = False, True, 1, 0
