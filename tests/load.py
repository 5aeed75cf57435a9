"""Load from several threads, while a test does something to the service."""

import http.client
import json
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Answers:
    """What came back for one kind of request: when it was sent, how long it took, its status.

    A request that got no answer has the status 0.
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
        return statistics.median(seconds for _, seconds, _ in self.seen)

    def good_since(self, moment):
        """Seconds from ``moment`` until a request was sent from which on all were answered 2xx."""
        bad = [sent for sent, _, status in self.seen if not 200 <= status < 300]
        good = [sent for sent, _, status in self.seen if 200 <= status < 300]
        first = min(sent for sent in good if sent > max([moment, *bad]))
        return first - moment

    def __str__(self):
        statuses = ", ".join(f"{n}×{status or 'none'}" for status, n in self.statuses.most_common())
        return f"{statuses}; median {self.median * 1000:.0f} ms, slowest {self.slowest:.2f} s"


class Load:
    """Threads that send requests, each one again as soon as it is answered, but not at once.

    ``requests`` holds functions of a running number that return method, path and body.
    """

    def __init__(self, port, requests, threads=2, pause=0.02):
        self.port = port
        self.pause = pause
        self.answers = {name: Answers() for name in requests}
        self.stopped = threading.Event()
        self.acknowledged = []  # the bodies that were answered 201
        self.threads = [
            threading.Thread(target=self.run, args=(name, make, number, threads))
            for name, make in requests.items()
            for number in range(threads)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def run(self, name, make, number, step):
        while not self.stopped.is_set():
            method, path, body = make(number)
            begun = time.monotonic()
            status = ask(self.port, method, path, body)
            self.answers[name].seen.append((begun, time.monotonic() - begun, status))
            if status == 201:
                self.acknowledged.append(body)
            number += step
            self.stopped.wait(self.pause)

    @property
    def statuses(self):
        """How often each status came, over all kinds of requests."""
        return sum((seen.statuses for seen in self.answers.values()), Counter())

    @property
    def outcome(self):
        """How many requests were not answered 2xx, of how many."""
        bad = sum(n for status, n in self.statuses.items() if not 200 <= status < 300)
        return f"{bad} of {self.statuses.total()} requests failed"

    def __str__(self):
        return "; ".join(f"{name}: {answers}" for name, answers in self.answers.items())


def ask(port, method="GET", path="/", body=None, timeout=20):
    """The status of an answer; 0 when there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    headers = {"Connection": "close", "Content-Type": "application/json"}
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
