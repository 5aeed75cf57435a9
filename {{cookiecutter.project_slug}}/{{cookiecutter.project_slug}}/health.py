"""Whether the process answers (``/livez``) and whether it can do its work (``/readyz``).

A service that is needed for the work registers its own check with ``add_check``. What uses the
service tells the check when it got no answer: then the check asks on until there is one, and nobody
else has to wait for a service that is ``away``.
"""

import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from threading import Lock, Thread, current_thread
from time import monotonic, sleep
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask
from werkzeug.exceptions import SecurityError
from werkzeug.wsgi import get_host

LIVENESS = "/livez"
READINESS = "/readyz"
PROBES = (LIVENESS, READINESS)
TIMEOUT = 1.5  # seconds for all checks together
PAUSE = 1  # seconds between two questions to a service that is away

logger = logging.getLogger(__name__)

Answer = tuple[dict[str, Any], HTTPStatus]
Probe = Callable[[], Answer]


class Check:
    """Something to ask, in a thread of its own: one that hangs holds nobody else up."""

    def __init__(self, name: str, ask: Callable[[], Any], gives_up: bool) -> None:
        self.name = name
        self.ask = ask
        self.gives_up = gives_up
        self.executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"check-{name}")
        self.running: Future[Any] | None = None
        self.lock = Lock()
        self.watcher: Thread | None = None

    def start(self) -> Future[Any]:
        """Ask, or join those who are waiting for the answer already."""
        if self.away:
            return refused(f"{self.name} did not answer just now")
        if self.gives_up:
            return asked(self.ask)
        if self.running is None or self.running.done():
            self.running = self.executor.submit(self.ask)
        return self.running

    def result(self, answer: Future[Any], deadline: float) -> str:
        """``ok`` or ``failing``; the reason goes to the log only."""
        try:
            answer.result(timeout=max(0, deadline - monotonic()))
        except Exception as error:
            reason = " ".join(str(error).split()) or "no answer in time"
            logger.warning("%s is not ready: %s", self.name, reason)
            return "failing"
        return "ok"

    @property
    def away(self) -> bool:
        """Whether to go on without the service; only the thread that waits for it tries."""
        return self.watcher is not None and self.watcher is not current_thread()

    def lost(self) -> None:
        """Take note that the service did not answer, and wait for it in a thread."""
        with self.lock:
            if self.watcher is None:
                self.watcher = Thread(target=self.watch, name=f"watch-{self.name}", daemon=True)
                self.watcher.start()

    def watch(self) -> None:
        """Ask until there is an answer."""
        while not self.answers():
            sleep(PAUSE)
        self.watcher = None
        logger.info("%s answers again", self.name)

    def answers(self) -> bool:
        """Ask once."""
        try:
            self.ask()
        except Exception:
            return False
        return True


def asked(ask: Callable[[], Any]) -> Future[Any]:
    """The answer of ``ask``, without a thread of its own."""
    answer: Future[Any] = Future()
    try:
        answer.set_result(ask())
    except Exception as error:
        answer.set_exception(error)
    return answer


def refused(reason: str) -> Future[Any]:
    """An answer that is there at once, and is no."""
    answer: Future[Any] = Future()
    answer.set_exception(ConnectionError(reason))
    return answer


class Probes:
    """Answer the probes before Flask does: they cost little, and pass no hook of the service."""

    def __init__(self, app: Flask, probes: dict[str, Probe]) -> None:
        self.app = app.wsgi_app
        self.probes = probes
        self.hosts = app.config["TRUSTED_HOSTS"]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        probe = self.probes.get(environ["PATH_INFO"])
        if probe is None or environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return self.app(environ, start_response)
        try:
            get_host(environ, self.hosts)
        except SecurityError as refusal:
            return refusal(environ, start_response)
        answer, status = probe()
        body = f"{json.dumps(answer)}\n".encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body] if environ["REQUEST_METHOD"] == "GET" else []


def init_app(app: Flask) -> None:
    """Serve the two probes."""
    checks: list[Check] = []
    app.extensions["health"] = checks
    probes: dict[str, Probe] = {LIVENESS: live, READINESS: partial(ready, checks)}
    for path, probe in probes.items():
        app.add_url_rule(path, path.strip("/"), probe)
    app.wsgi_app = Probes(app, probes)  # type: ignore[method-assign]


def add_check(app: Flask, name: str, ask: Callable[[], Any], *, gives_up: bool = False) -> Check:
    """Make ``/readyz`` call ``ask``, which raises an exception when the work cannot be done.

    An ``ask`` that ``gives_up`` by itself, well within ``TIMEOUT``, is spared a thread.
    """
    check = Check(name, ask, gives_up)
    app.extensions["health"].append(check)
    return check


def live() -> Answer:
    """Answer without asking anything else: a restart would not mend what is elsewhere."""
    return {"status": "ok"}, HTTPStatus.OK


def ready(checks: list[Check]) -> Answer:
    """Run all checks side by side; 503 when one of them fails or does not answer in time."""
    deadline = monotonic() + TIMEOUT
    started = [(check, check.start()) for check in checks]
    found = {check.name: check.result(answer, deadline) for check, answer in started}
    if "failing" in found.values():
        return {"status": "failing", "checks": found}, HTTPStatus.SERVICE_UNAVAILABLE
    return {"status": "ok", "checks": found}, HTTPStatus.OK
