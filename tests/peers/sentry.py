"""A program in the place of Sentry, which stores the events that it receives, or hangs."""

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def events(envelope):
    """Yield the events of an envelope: a header, and items, each with a header and its length."""
    header, _, rest = envelope.partition(b"\n")
    while rest:
        header, _, rest = rest.partition(b"\n")
        item = json.loads(header)
        payload, rest = rest[: item["length"]], rest[item["length"] + 1 :]
        if item["type"] == "event":
            yield json.loads(payload)


class Receiver(BaseHTTPRequestHandler):
    """Accepts envelopes."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        zipped = self.headers["Content-Encoding"] == "gzip"
        body = gzip.decompress(body) if zipped else body
        self.server.received.append((self.path, body))
        self.server.works.wait(60)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Sentry(ThreadingHTTPServer):
    """What was received; it hangs while ``works`` is not set."""

    daemon_threads = True

    def __init__(self, host):
        super().__init__((host, 0), Receiver)
        self.received, self.works = [], threading.Event()
        self.works.set()
        self.dsn = f"http://the-key@{host}:{self.server_address[1]}/7"

    def events(self, message):
        """Return the events whose exception or message contains a text."""
        found = [e for path, body in list(self.received) for e in events(body)]
        assert {path for path, _ in self.received} <= {"/api/7/envelope/"}
        return [event for event in found if message in json.dumps(event)]


@contextmanager
def sentry(host):
    """Run the program at an address of this machine."""
    with Sentry(host) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server
        finally:
            server.works.set()
            server.shutdown()
