"""A gunicorn worker that slow clients cannot hold up.

A connection gets one of the threads when its request has arrived in full. Until then it waits in
the poller, at the price of a little memory; gunicorn's own ``gthread`` gives it a thread from the
first byte on. Probes need none of these threads. Plain HTTP/1 only: what ends TLS stands in front.
``MAX_CONTENT_LENGTH`` holds for every view, which may lower it for itself but not raise it.
"""

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from io import BytesIO
from select import select
from selectors import EVENT_READ
from socket import SHUT_WR, socket
from threading import Event, Semaphore
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

from gunicorn.http import RequestParser
from gunicorn.http.body import ChunkedReader
from gunicorn.http.unreader import Unreader
from gunicorn.util import write_error
from gunicorn.workers.gthread import TConn, ThreadWorker

from config.settings import MAX_CONTENT_LENGTH

from {{ cookiecutter.project_slug }}.health import LIVENESS, PROBES, asked

REQUEST_TIMEOUT = 20  # seconds for a request to arrive
ANSWER_TIMEOUT = 20  # seconds for a client to take its answer
PATIENCE = 0.005  # seconds that an idle thread waits for another request of the same client
LINGER = 2  # seconds for a client to read an answer that came before its request was complete
LARGEST_HEAD = 65_536  # bytes; gunicorn allows less, and says so when it sees the head
LARGEST_SIZE_LINE = 8_190  # bytes before a chunk
MANY_CHUNKS = 10_000  # more only if they hold 256 bytes on average: each costs time to join
MOST_HELD = 32 * 2**20 + MAX_CONTENT_LENGTH  # bytes of incomplete requests in one worker

BROKEN = re.compile(rb"\A[^A-Za-z\r]|(?<!\r)\n")  # no HTTP/1, or a line that LF alone ends
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*(\d+)[ \t]*\r\n", re.I)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.I)
CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.I)
HINTS = b"HTTP/1.1 103 "
PROBE = re.compile(rb"(?:GET|HEAD) (%s)[ ?]" % "|".join(PROBES).encode())
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}(?=[; \t\r])")


class RefusedError(Exception):
    """What arrives on a connection will not become a request."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class NotTakenError(OSError):
    """A client does not take its answer."""


class Incoming(Unreader):
    """What has arrived on a connection. A parser finds this, and does not wait for more."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        """Expect a request; its beginning may have come with the one before."""
        self.data = bytearray(self.take_buffered())
        self.head = 0  # bytes; 0 until its end has arrived
        self.size = 0  # bytes of the body, as far as the client has announced them
        self.chunks = 0
        self.end = 0  # what is known already: where the request ends, or its next chunk begins
        self.chunked = self.hesitant = False
        self.deadline = monotonic() + REQUEST_TIMEOUT
        self.answer_timeout = ANSWER_TIMEOUT

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Nothing more than the buffer holds."""
        return b""

    def take(self, sock: socket) -> bool:
        """Add what has arrived since; false when the client has closed the connection."""
        try:
            data = sock.recv(65_536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.data += data
        return bool(data)

    def put_back(self) -> None:
        """Leave what has arrived to whoever reads next."""
        self.unread(self.data)
        self.data.clear()

    @property
    def too_large(self) -> bool:
        """Whether the service is going to refuse the body, of whatever it consists."""
        return self.size > MAX_CONTENT_LENGTH

    def complete(self) -> bool:
        """Whether nothing more is to come, or the rest does not matter."""
        if not self.head:
            self.find_head()
        if self.chunked:
            self.skip_chunks()
        return self.too_large or (0 < self.head <= self.end <= len(self.data) and not self.chunked)

    def next_is_there(self, sock: socket) -> bool:
        """Whether a whole request is there, or is when ``sock`` has been read once more."""
        self.begin()
        try:
            return (bool(self.data) or self.take(sock)) and self.complete()
        except RefusedError:
            return False
        finally:
            self.put_back()

    def find_head(self) -> None:
        """Look for the end of the head, and in the head for that of the body."""
        searched, self.end = self.end, len(self.data)
        found = self.data.find(b"\r\n\r\n", max(0, searched - 3))
        if found >= 0:
            self.head = found + 4
            self.chunked = bool(CHUNKED.search(self.data, 0, self.head))
            self.hesitant = bool(CONTINUE.search(self.data, 0, self.head))
            length = LENGTH.search(self.data, 0, self.head)
            if length and self.chunked:
                raise RefusedError(HTTPStatus.BAD_REQUEST)
            self.size = int(length[1][:18]) if length else 0  # with 18 digits it is too large
            self.end = self.head + self.size
        elif self.end > LARGEST_HEAD:
            raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif BROKEN.search(self.data, max(0, searched - 1)):
            raise RefusedError(HTTPStatus.BAD_REQUEST)

    def skip_chunks(self) -> None:
        """Move ``end`` behind every chunk that has begun to arrive."""
        while (line := self.data.find(b"\r\n", self.end)) >= 0:
            announced = CHUNK_SIZE.match(self.data, self.end)
            if not announced:
                raise RefusedError(HTTPStatus.BAD_REQUEST)
            if not (size := int(announced[0], 16)):
                return self.skip_trailers(line)
            self.size += size
            self.chunks += 1
            self.end = line + 2 + size + 2
        if self.chunks > MANY_CHUNKS + self.size // 256:
            raise RefusedError(HTTPStatus.BAD_REQUEST)
        if len(self.data) - self.end > LARGEST_SIZE_LINE:
            raise RefusedError(HTTPStatus.BAD_REQUEST)

    def skip_trailers(self, line: int) -> None:
        """Find the end of what follows the last chunk, whose size ends at ``line``."""
        found = self.data.find(b"\r\n\r\n", line)
        if found >= 0:
            self.end = found + 4
            self.chunked = False
        elif len(self.data) - line > LARGEST_HEAD:
            raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


class Outgoing:
    """A socket that sends the head of an answer in one packet with the beginning of its body."""

    def __init__(self, sock: socket) -> None:
        self.sock = sock
        self.head: bytes | None = None

    def sendall(self, data: bytes) -> None:
        """Keep the head, which comes alone, and send all else; hints come before it."""
        if self.head is None and not data.startswith(HINTS):
            self.head = data
        elif self.head and len(data) < LARGEST_HEAD:  # to join more would take longer than it saves
            head, self.head = self.head, b""
            self.send(self.sock.sendall, head + data)
        else:
            self.flush()
            self.send(self.sock.sendall, data)

    def flush(self) -> None:
        """Send the head of an answer that has no body."""
        if self.head:
            head, self.head = self.head, b""
            self.send(self.sock.sendall, head)

    def sendfile(self, *args: Any, **options: Any) -> Any:
        """Send a file, after its head."""
        self.flush()
        return self.send(self.sock.sendfile, *args, **options)

    def send(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Send with ``call``; when the client takes too long, tell it from what a service raises."""
        try:
            return call(*args, **options)
        except (BlockingIOError, TimeoutError) as error:
            raise NotTakenError from error

    def __getattr__(self, name: str) -> Any:
        self.flush()
        return getattr(self.sock, name)


def incoming(conn: TConn) -> Incoming:
    """What has arrived on ``conn``."""
    return cast(Incoming, cast(RequestParser, conn.parser).unreader)


def started(pool: ThreadPoolExecutor, threads: int) -> ThreadPoolExecutor:
    """``pool`` with all of its threads: it does not fail later, when no more are to be had."""
    ready = Event()
    for _ in range(threads):
        pool.submit(ready.wait)
    ready.set()
    return pool


def address(conn: TConn) -> str:
    """Whose connection it is."""
    return str(cast(tuple[str, int], conn.client)[0])


class BufferingWorker(ThreadWorker):
    """``gthread``, with threads for complete requests only."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.waiting: dict[TConn, float] = {}  # connections in the poller, and until when
        self.patient = Semaphore(self.cfg.threads // 2)  # at most half of the threads wait so

    def init_process(self) -> None:
        """Start the thread for readiness, and then all that gunicorn does."""
        self.probes = started(ThreadPoolExecutor(1), 1)
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """The threads for all other requests."""
        return started(super().get_thread_pool(), self.cfg.threads)

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Accept connections or not; a worker that stops takes those that are there and no more.

        With an open socket it would let clients connect, only to reset them in the end.
        """
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        while self.sockets:  # none is left when gunicorn says so again
            listener = self.sockets.pop()
            while select([listener], [], [], 0)[0]:
                self.accept(listener)
            listener.close()

    def enqueue_req(self, conn: TConn) -> None:
        """Expect a request on ``conn``, which gunicorn takes to be there."""
        if conn.parser is None:
            conn.parser = RequestParser(self.cfg, [], conn.client)
            conn.parser.unreader = Incoming()
            conn.initialized = True
        conn.sock.setblocking(False)
        incoming(conn).begin()
        self.receive(conn)

    def receive(self, conn: TConn, _: object = None) -> None:
        """Take what has arrived, and give the connection to a thread if the request is complete."""
        arrived = incoming(conn)
        try:
            is_open = arrived.complete() or arrived.take(conn.sock)
            if arrived.complete():
                self.hand_over(conn)
            elif is_open:
                self.wait(conn)
            elif arrived.data:
                raise RefusedError(HTTPStatus.BAD_REQUEST)
            else:
                self.drop(conn)
        except RefusedError as refusal:
            self.refuse(conn, refusal.status)

    def hand_over(self, conn: TConn) -> None:
        """Give ``conn`` to a thread; probes do not wait for one, so that busy is not dead."""
        self.leave_poller(conn)
        arrived = incoming(conn)
        probe = PROBE.match(arrived.data)
        path = probe[1].decode() if probe else None
        arrived.put_back()
        if path == LIVENESS and arrived.end == arrived.head:
            done = self.answer_at_once(conn)
        elif path:
            done = self.probes.submit(self.handle, conn)
        else:
            done = self.tpool.submit(self.converse, conn)
        done.add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))

    def answer_at_once(self, conn: TConn) -> Future[bool]:
        """Have the service answer in the poller's own thread.

        All clients wait for what ``/livez`` does: nothing around the application may take long.
        """
        incoming(conn).answer_timeout = 0
        return asked(partial(self.handle, conn))

    def wait(self, conn: TConn) -> None:
        """Leave ``conn`` to the poller until more arrives."""
        arrived = incoming(conn)
        if arrived.hesitant:
            arrived.hesitant = False
            with suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if conn not in self.waiting:
            self.enter_poller(conn, self.receive, arrived.deadline)
        if sum(len(incoming(other).data) for other in self.waiting) > MOST_HELD:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE)

    def refuse(self, conn: TConn, status: HTTPStatus) -> None:
        """Answer that what has arrived is no request."""
        self.log.info("Refused what %s sent: %d %s", address(conn), status, status.phrase)
        with suppress(OSError):
            write_error(conn.sock, status.value, status.phrase, "")
        self.linger(conn)

    def linger(self, conn: TConn) -> None:
        """End the answer; a client that is still sending may read it first (RFC 9112, 9.6)."""
        self.leave_poller(conn)
        incoming(conn).data.clear()
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(SHUT_WR)
        except OSError:
            self.drop(conn)
        else:
            self.enter_poller(conn, self.drain, monotonic() + LINGER)

    def drain(self, conn: TConn, _: object) -> None:
        """Throw away what arrives, until the client closes."""
        arrived = incoming(conn)
        if not arrived.take(conn.sock):
            self.drop(conn)
        arrived.data.clear()

    def drop(self, conn: TConn) -> None:
        """Close ``conn``."""
        self.leave_poller(conn)
        self.nr_conns -= 1
        conn.close()

    def enter_poller(self, conn: TConn, call: Callable[..., None], deadline: float) -> None:
        """Call ``call`` when something arrives; ``murder_pending`` watches the deadline."""
        self.waiting[conn] = deadline
        self.poller.register(conn.sock, EVENT_READ, partial(call, conn))

    def leave_poller(self, conn: TConn) -> None:
        """Stop to watch ``conn``."""
        if self.waiting.pop(conn, None) is not None:
            self.poller.unregister(conn.sock)

    def murder_pending(self) -> None:
        """End what has waited for too long; a worker that stops waits for nobody who is silent."""
        now = monotonic()
        silent_until = now if self.alive else now + REQUEST_TIMEOUT - LINGER
        for conn, deadline in list(self.waiting.items()):
            if incoming(conn).data and deadline <= now:
                self.refuse(conn, HTTPStatus.REQUEST_TIMEOUT)
            elif not incoming(conn).data and deadline <= silent_until:
                self.drop(conn)

    def finish_request(self, conn: TConn, fs: Future[bool]) -> None:
        """Keep ``conn`` for another request, or close it without waiting for the client."""
        if fs.cancelled() or fs.exception() or not fs.result():
            self.linger(conn)
        else:
            super().finish_request(conn, fs)

    def converse(self, conn: TConn) -> bool:
        """Have the service answer; a client that goes on at once needs no other thread for that."""
        keep = self.handle(conn)
        while keep and self.goes_on(conn):
            keep = self.handle(conn)
        return keep

    def goes_on(self, conn: TConn) -> bool:
        """Whether another request arrives soon; not if another client waits for a thread already."""
        if not self.alive or not self.tpool._work_queue.empty():
            return False
        if not self.patient.acquire(blocking=False):
            return False
        try:
            conn.sock.settimeout(PATIENCE)
            return incoming(conn).next_is_there(conn.sock)
        finally:
            self.patient.release()

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Have the service answer."""
        req._expected_100_continue = False  # ``wait`` has seen to it
        if isinstance(req.body.reader, ChunkedReader):
            self.join_chunks(req, incoming(conn))
        if incoming(conn).too_large:
            req.force_close()
        conn.sock.settimeout(incoming(conn).answer_timeout)
        outgoing: Any = SimpleNamespace(
            sock=Outgoing(conn.sock), client=conn.client, server=conn.server
        )
        try:
            keep = super().handle_request(req, outgoing)
            outgoing.sock.flush()
            if keep:
                req.body.read()  # what follows it is the next request
            return keep
        except NotTakenError:
            self.log.info("%s does not take its answer", address(conn))
            return False

    def join_chunks(self, req: Any, arrived: Incoming) -> None:
        """Give the service a body with a length; gunicorn refuses broken chunks while it reads."""
        req.body = BytesIO(b"" if arrived.too_large else req.body.read())
        req.headers = [field for field in req.headers if field[0] != "TRANSFER-ENCODING"]
        req.headers.append(("CONTENT-LENGTH", str(arrived.size)))
