"""The requests of ``make soak``: of all kinds, at a constant rate, over kept and new connections."""

import itertools
import json
import random
import select
import socket
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from http.client import HTTPConnection, HTTPException

SENDERS = 24
SLOW_CLIENTS = 5
NUMBERS_OF_A_TEXT = 20  # so that the cache has two of three
KEPT = 200  # requests over one connection
NOTES = 500  # that exist at the same time
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=xxxx"}
FILE = (
    b'--xxxx\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--xxxx--\r\n'
)
UPLOAD = FILE % bytes(20_000)

# Of a hundred requests, how many are of each kind, and the status that is expected
SHARES = {
    "page": (20, 200),
    "static file": (12, 200),
    "list": (12, 200),
    "cached text": (12, 200),
    "new note": (8, 201),
    "changed note": (4, 200),
    "deleted note": (7, 204),
    "job": (8, 202),
    "form": (5, 200),
    "upload": (4, 200),
    "unknown path": (3, 404),
    "invalid note": (3, 422),
    "readiness": (2, 200),
}


class Traffic:
    """Threads that send ``number`` requests, ``rate`` in a second, and what they saw."""

    def __init__(self, port, static, number, rate):
        self.port, self.static, self.number, self.rate = port, static, number, rate
        self.kinds = [kind for kind, (share, _) in SHARES.items() for _ in range(share)]
        random.Random(1).shuffle(self.kinds)
        self.counter = itertools.count()
        self.notes = deque()  # the IDs of notes that exist
        self.jobs = set()  # the numbers of jobs that were accepted
        self.counts = Counter()  # by kind
        self.failed = []  # kind, status, and the times when it was sent and answered
        self.slow = Counter()  # the statuses of slow clients
        self.seconds = {kind: [] for kind in SHARES}
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.send) for _ in range(SENDERS)]
        self.threads += [threading.Thread(target=self.trickle) for _ in range(SLOW_CLIENTS)]

    def __enter__(self):
        self.begun = time.time()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads[:SENDERS]:
            thread.join()
        self.ended_at = time.time()
        self.ended.set()
        for thread in self.threads[SENDERS:]:
            thread.join()

    @property
    def sent(self):
        return sum(self.counts.values())

    @property
    def texts(self):
        """The number of texts that were asked for, which do not fit into the cache."""
        return self.number // NUMBERS_OF_A_TEXT

    @property
    def sending(self):
        return any(thread.is_alive() for thread in self.threads[:SENDERS])

    def send(self):
        """Send the next request when it is due, until all are sent."""
        connection, uses = HTTPConnection("127.0.0.1", self.port, timeout=60), 0
        while (number := next(self.counter)) < self.number:
            time.sleep(max(0, self.begun + number / self.rate - time.time()))
            self.ask(connection, number)
            uses += 1
            if uses % KEPT == 0:
                connection.close()
        connection.close()

    def ask(self, connection, number):
        """Send one request, and record how it was answered."""
        kind = self.kinds[number % len(self.kinds)]
        request = self.request(kind, number)
        if request is None:  # there is no note yet
            return
        begun, status, body = time.time(), 0, b""
        if connection.sock and select.select([connection.sock], [], [], 0)[0]:
            connection.close()  # the server has closed it: HTTP libraries check this first
        try:
            connection.request(*request)
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, HTTPException):
            connection.close()
            time.sleep(0.5)  # as clients do before they connect again
        ended = time.time()
        self.counts[kind] += 1
        self.seconds[kind].append(ended - begun)
        if status != SHARES[kind][1]:
            self.failed.append((kind, status, begun, ended))
        elif kind == "new note":
            self.notes.append(json.loads(body)["id"])
        elif kind == "job":
            self.jobs.add(number)

    def request(self, kind, number):
        """Return method, path, body and headers of a request."""
        note = json.dumps({"title": f"Note {number}", "body": "x" * (number % 2_000)})
        match kind:
            case "changed note":
                return self.notes and ("PATCH", f"/notes/{self.notes[-1]}", note, JSON) or None
            case "deleted note":
                if len(self.notes) < NOTES:
                    return None
                with suppress(IndexError):
                    return ("DELETE", f"/notes/{self.notes.popleft()}")
                return None
        return {
            "page": ("GET", "/"),
            "static file": ("GET", self.static[number % len(self.static)]),
            "list": ("GET", f"/notes?page={number % 20 + 1}"),
            "cached text": ("GET", f"/soak/cached/{number // NUMBERS_OF_A_TEXT}"),
            "new note": ("POST", "/notes", note, JSON),
            "job": ("POST", f"/soak/job/{number}", None, {}),
            "form": ("POST", "/soak/form", "text=" + "x" * (number % 5_000), FORM),
            "upload": ("POST", "/soak/upload", UPLOAD, MULTIPART),
            "unknown path": ("GET", f"/nowhere/{number}"),
            "invalid note": ("POST", "/notes", '{"title": ""}', JSON),
            "readiness": ("GET", "/readyz"),
        }[kind]

    def trickle(self):
        """Send bodies one byte in half a second, again and again."""
        head = b"POST /soak/form HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 20\r\n\r\n"
        while not self.ended.is_set():
            status = "none"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as client:
                client.sendall(head)
                for byte in b"text=aaaaaaaaaaaaaaa":
                    client.sendall(bytes([byte]))
                    time.sleep(0.5)
                client.settimeout(60)
                status = client.recv(100)[9:12].decode() or "none"
            self.slow[status] += 1
            time.sleep(1)
