"""Send load from several threads, while a test changes the service."""

import http.client
import itertools
import json
import select
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field


@dataclass
class Answers:
    """The responses to one kind of request: when it was sent, how long it took, and its status.

    A request that got no response has the status 0.
    """

    seen: list[tuple[float, float, int]] = field(default_factory=list)

    def between(self, begin, end=float("inf")):
        return Answers([answer for answer in self.seen if begin <= answer[0] < end])

    @property
    def statuses(self):
        return Counter(status for _, _, status in self.seen)

    @property
    def slowest(self):
        return max((seconds for _, seconds, _ in self.seen), default=0)

    @property
    def median(self):
        return statistics.median([seconds for _, seconds, _ in self.seen] or [0])

    def good_since(self, moment):
        """Return seconds from ``moment`` until the first request after which all returned 2xx."""
        bad = [sent for sent, _, status in self.seen if not 200 <= status < 300]
        good = [sent for sent, _, status in self.seen if 200 <= status < 300]
        first = min((sent for sent in good if sent > max([moment, *bad])), default=float("inf"))
        return first - moment

    def __str__(self):
        statuses = ", ".join(f"{n}×{status or 'none'}" for status, n in self.statuses.most_common())
        return f"{statuses}; median {self.median * 1000:.0f} ms, slowest {self.slowest:.2f} s"


class Client:
    """A client with one connection, which it closes after each request or keeps open."""

    def __init__(self, port, *, keep_alive=False, timeout=20, connect=http.client.HTTPConnection):
        self.connection = connect("127.0.0.1", port, timeout=timeout)
        self.headers = {"Content-Type": "application/json"}
        if not keep_alive:
            self.headers["Connection"] = "close"

    def ask(self, method="GET", path="/", body=None):
        """Return the status of the response, or 0 if there is none."""
        if self.connection.sock and select.select([self.connection.sock], [], [], 0)[0]:
            self.connection.close()  # the server has closed it: HTTP libraries check this first
        try:
            body = json.dumps(body) if body is not None else None
            self.connection.request(method, path, body, self.headers)
            self.response = self.connection.getresponse()
            self.body = self.response.read()
            return self.response.status
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return 0


def ask(port, method="GET", path="/", body=None, timeout=20):
    """Return the status of the response to one request, or 0 if there is none."""
    client = Client(port, timeout=timeout)
    try:
        return client.ask(method, path, body)
    finally:
        client.connection.close()


class Load:
    """Threads that send requests: shortly after each response, or ``rate`` requests a second.

    ``requests`` holds functions of a running number that return method, path and body. With
    ``keep_alive``, every other thread of each kind keeps its connection open. ``watch`` is called with the kind
    and the path of each request, its response and the body. ``options`` are for each client.
    """

    def __init__(
        self, port, requests, threads=2, rate=None, keep_alive=False, watch=None, **options
    ):
        self.port, self.options, self.watch = port, options, watch
        self.interval = rate and threads * len(requests) / rate
        self.answers = {name: Answers() for name in requests}
        self.stopped = threading.Event()
        self.acknowledged = []  # the bodies of requests that returned 201
        self.threads = []
        for number in range(threads):
            for place, kind in enumerate(requests.items()):
                kept = keep_alive and (number + place) % 2
                order = len(self.threads)
                arguments = (*kind, number, threads, kept, order)
                self.threads.append(threading.Thread(target=self.run, args=arguments))

    def __enter__(self):
        self.begun = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def run(self, name, make, number, step, keep_alive, order):
        client = Client(self.port, keep_alive=keep_alive, **self.options)
        due = self.begun + (self.interval or 0) * order / len(self.threads)
        while not self.stopped.wait(max(0, due - time.monotonic()) if self.interval else 0.02):
            method, path, body = make(number)
            begun = time.monotonic()
            status = client.ask(method, path, body)
            self.answers[name].seen.append((begun, time.monotonic() - begun, status))
            if status == 201:
                self.acknowledged.append(body)
            if status and self.watch:
                self.watch(name, path, client.response, client.body)
            number += step
            due += self.interval or 0
        client.connection.close()

    @property
    def statuses(self):
        """Count the statuses of all kinds of requests."""
        return sum((seen.statuses for seen in self.answers.values()), Counter())

    @property
    def failed(self):
        """Return the requests that did not return 2xx: kind, status, and when they were sent."""
        return [
            (kind, status, round(sent - self.begun, 1))
            for kind, answers in self.answers.items()
            for sent, _, status in answers.seen
            if not 200 <= status < 300
        ]

    @property
    def outcome(self):
        failed = self.failed
        return (
            f"{len(failed)} of {self.statuses.total()} requests failed {failed[:9] or ''}".rstrip()
        )

    def __str__(self):
        return "; ".join(f"{name}: {answers}" for name, answers in self.answers.items())


run_number = itertools.count()


def everything(body=""):
    """Return requests of all kinds; each list is another page, which is not in the cache."""
    title = f"run {next(run_number)}"
    return {
        "page": lambda number: ("GET", "/", None),
        "livez": lambda number: ("GET", "/livez", None),
        "readyz": lambda number: ("GET", "/readyz", None),
        "list": lambda number: ("GET", f"/notes?page={number % 500 + 1}", None),
        "note": lambda number: ("POST", "/notes", {"title": f"{title}, {number}", "body": body}),
    }


def slow_requests(either_stack, number, seconds):
    """Start ``number`` requests that take ``seconds``, and return futures of their statuses."""
    pool = ThreadPoolExecutor(number)
    futures = [
        pool.submit(ask, either_stack.port, path=f"/faults/sleep/{seconds}", timeout=60)
        for _ in range(number)
    ]
    time.sleep(1)
    return futures


def results(futures):
    return sorted(future.result() for future in futures)
