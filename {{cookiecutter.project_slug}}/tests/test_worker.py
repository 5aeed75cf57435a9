"""A worker with few threads, and what clients do to it."""

import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import flask
import pytest
from flask import Flask
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn

from config import settings, worker

LIMIT = settings.MAX_CONTENT_LENGTH
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def echo() -> Flask:
    app = Flask("echo")
    app.config["MAX_CONTENT_LENGTH"] = LIMIT
    app.add_url_rule("/", view_func=request_body, methods=["GET", "POST"])
    app.add_url_rule("/ignore", view_func=lambda: "ignored", methods=["POST"], endpoint="ignore")
    app.add_url_rule("/long", view_func=lambda: bytes(50_000_000), endpoint="long")
    app.add_url_rule("/slow", view_func=slow)
    app.add_url_rule("/hint", view_func=hint)
    app.add_url_rule("/late", view_func=late)
    app.add_url_rule("/file", view_func=lambda: flask.send_file(__file__), endpoint="file")
    app.add_url_rule("/nothing", view_func=lambda: ("", 204), endpoint="nothing")
    app.add_url_rule("/parts", view_func=lambda: iter([b"", b"one", b"two"]), endpoint="parts")
    for path in ("/livez", "/readyz"):
        app.add_url_rule(path, view_func=alive, endpoint=path)
    return app


def request_body() -> str:
    return f"<{flask.request.get_data(as_text=True)}>"


def alive() -> str:
    time.sleep(flask.request.args.get("after", 0.0, float))
    return "alive" * flask.request.args.get("times", 1, int)


def slow() -> str:
    time.sleep(0.5)
    return "slow"


def hint() -> str:
    flask.request.environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    return slow()


def late() -> Iterator[str]:
    yield "beginning"
    raise TimeoutError("nobody answered")


class Server:
    """A worker in a thread of this process."""

    def __init__(self, listener: socket.socket, threads: int) -> None:
        cfg = Config()
        cfg.set("threads", threads)
        cfg.set("graceful_timeout", 5)
        app: Any = SimpleNamespace(wsgi=echo)
        self.worker = worker.BufferingWorker(1, os.getppid(), [listener], app, 30, cfg, Logger(cfg))
        self.worker.init_signals = lambda: None  # type: ignore[method-assign]
        self.address = listener.getsockname()
        self.thread = Thread(target=self.worker.init_process)
        self.thread.start()

    def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.address, timeout=5)
        client.sendall(data)
        return client

    def ask(self, data: bytes) -> bytes:
        """All that is answered to ``data``, until the server closes."""
        with self.connect(data) as client:
            return everything(client)

    def stop(self) -> None:
        self.worker.handle_exit(0, None)
        self.thread.join(10)
        self.worker.tmp.close()


@pytest.fixture(params=[1, 4], ids=["one thread", "four threads"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener, request.param)
        yield server
        server.stop()


def everything(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65_536), b""))


def up_to(client: socket.socket, end: bytes) -> bytes:
    """What comes from the server until ``end``, which must come."""
    answer = b""
    while not answer.endswith(end):
        data = client.recv(65_536)
        assert data, answer
        answer += data
    return answer


def status(answer: bytes) -> int:
    return int(answer.split()[1])


@pytest.mark.parametrize(
    "beginning",
    [b"", b"G", HELLO[:-1], HEAD + b"Content-Length: 9\r\n\r\nhalf", CHUNKED + b"5\r\nhal"],
    ids=["nothing", "a byte", "half a head", "half a body", "half a chunk"],
)
def test_slow_clients_hold_no_thread(server: Server, beginning: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(server.connect(beginning))

        assert status(server.ask(HELLO)) == 200


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (HEAD + b"Content-Length: 5\r\n\r\nhello", b"<hello>"),
        (CHUNKED + b"3\r\nhel\r\n2;name=value\r\nlo\r\n0\r\n\r\n", b"<hello>"),
        (CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n", b"<hello>"),
        (b"\r\n" + HEAD + b"Content-Length: 0\r\n\r\n", b"<>"),
        (HEAD + b"Content-Length: " + b"0" * 30 + b"5\r\n\r\nhello", b"<hello>"),
    ],
    ids=["length", "chunks", "trailer", "empty", "long length"],
)
def test_request_that_drips_in_is_answered(server: Server, message: bytes, body: bytes) -> None:
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in message:
            client.send(bytes([byte]))
            time.sleep(0.001)
        client.shutdown(socket.SHUT_WR)

        assert everything(client).endswith(body)


def test_connection_serves_one_request_after_another(server: Server) -> None:
    with server.connect() as client:
        for body in (b"one", b"two"):
            client.sendall(HEAD + b"Content-Length: 3\r\n\r\n" + body)

            assert status(up_to(client, b"<" + body + b">")) == 200


def test_requests_that_come_together_are_answered_in_turn(server: Server) -> None:
    answer = server.ask(
        HEAD + b"Content-Length: 1\r\n\r\nA" + CHUNKED + b"1\r\nB\r\n0\r\n\r\n" + HELLO
    )

    assert [answer.count(body) for body in (b"<A>", b"<B>", b"<>")] == [1, 1, 1]
    assert answer.index(b"<A>") < answer.index(b"<B>") < answer.index(b"<>")


def test_body_that_nobody_reads_does_not_become_a_request(server: Server) -> None:
    body = HELLO * 2_000
    ignored = HEAD.replace(b"/", b"/ignore", 1) + b"Content-Length: %d\r\n\r\n" % len(body) + body

    answer = server.ask(ignored + HELLO)

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.count(b"<>") == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (b"/file", Path(__file__).read_bytes()),
        (b"/nothing", b""),
        (b"/parts", b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        (b"/long", bytes(50_000_000)),
    ],
    ids=["file", "nothing", "parts", "long"],
)
def test_answer_has_its_head_and_then_its_body(server: Server, path: bytes, body: bytes) -> None:
    answer = server.ask(HELLO.replace(b"/", path, 1))

    assert status(answer) < 300
    assert answer.partition(b"\r\n\r\n")[2] == body


def test_small_answer_comes_in_one_packet(server: Server) -> None:
    with server.connect(HELLO) as client:
        assert client.recv(65_536).endswith(b"<>")


def test_requests_that_wait_their_turn_are_not_read_ahead(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, taken = worker.Incoming.take, []

    def count(arrived: worker.Incoming, sock: socket.socket) -> bool:
        taken.append(sock)
        return take(arrived, sock)

    monkeypatch.setattr(worker.Incoming, "take", count)

    server.ask(HELLO.replace(b"Connection: close\r\n", b"") * 20 + HELLO)

    assert len(taken) < 20


def test_hints_come_before_the_answer(server: Server) -> None:
    with server.connect(HELLO.replace(b"/", b"/hint", 1)) as client:
        assert b"103 Early Hints" in up_to(client, b"\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 200 OK")


def test_service_that_has_no_time_left_is_no_slow_client(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.ask(HELLO.replace(b"/", b"/late", 1))

    assert "TimeoutError: nobody answered" in caplog.text
    assert "does not take its answer" not in caplog.text


def test_client_that_asks_is_told_to_go_on(server: Server) -> None:
    with server.connect(HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n") as client:
        first = client.recv(65_536)
        client.sendall(b"hello")

        assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert status(up_to(client, b"<hello>")) == 200


def test_client_that_asks_with_too_much_is_not_told_to_go_on(server: Server) -> None:
    head = HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (LIMIT + 1)

    assert status(server.ask(head)) == 413


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
        (HEAD + b"X: " + bytes(70_000).replace(b"\0", b"x"), 431),
        (HEAD + b"X: " + bytes(9_000).replace(b"\0", b"x") + b"\r\n\r\n", 431),
        (CHUNKED + b"zz\r\n", 400),
        (CHUNKED + b"1" * 9_000, 400),
        (CHUNKED + b"3\r\nabcXX0\r\n\r\n", 400),
        (CHUNKED + b"0\r\nX: " + bytes(70_000).replace(b"\0", b"x"), 431),
        (HEAD + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1), 413),
        (CHUNKED + b"%x\r\n" % (LIMIT + 1), 413),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (HEAD + b"Content-Length: x\r\n\r\n", 400),
        (HEAD + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", 400),
        (CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n", 400),
    ],
    ids=[
        "TLS", "LF", "endless head", "long field", "no size", "endless size", "no line break",
        "endless trailer", "large body", "large chunk", "two lengths", "length of letters",
        "endless length", "too many chunks",
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_once(server: Server, message: bytes, expected: int) -> None:
    answer = server.ask(message)

    assert status(answer) == expected
    assert answer.count(b"HTTP/1.1 ") == 1


def test_half_a_request_is_refused_when_the_client_ends_it(server: Server) -> None:
    with server.connect(HEAD) as client:
        client.shutdown(socket.SHUT_WR)

        assert status(everything(client)) == 400


def test_request_that_does_not_end_is_refused_in_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "REQUEST_TIMEOUT", 0.1)

    assert status(server.ask(HEAD)) == 408


def test_silent_connection_is_closed_without_a_word(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "REQUEST_TIMEOUT", 0.1)

    assert server.ask(b"") == b""


def test_more_is_not_held_than_there_is_room_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MOST_HELD", 1_000)
    half = HEAD + b"Content-Length: 2000\r\n\r\n" + bytes(900)

    with server.connect(half):
        assert status(server.ask(half)) == 503
        assert status(server.ask(HELLO)) == 200


def test_client_that_does_not_take_its_answer_gives_its_thread_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ANSWER_TIMEOUT", 0.2)

    with server.connect(HELLO.replace(b"/", b"/long", 1)):
        assert status(server.ask(HELLO)) == 200


@pytest.mark.parametrize("server", [1], indirect=True)
@pytest.mark.parametrize("probe", [b"/livez", b"/readyz"])
def test_probe_is_answered_while_all_threads_are_busy(server: Server, probe: bytes) -> None:
    with server.connect(HELLO.replace(b"/", b"/slow", 1)) as client:
        answer = server.ask(HELLO.replace(b"/", probe, 1))

        assert answer.endswith(b"alive")
        assert select.select([client], [], [], 0)[0] == []
        assert everything(client).endswith(b"slow")


def test_liveness_does_not_wait_for_readiness(server: Server) -> None:
    with server.connect(HELLO.replace(b"/", b"/readyz?after=0.5", 1)) as client:
        assert server.ask(HELLO.replace(b"/", b"/livez", 1)).endswith(b"alive")

        assert select.select([client], [], [], 0)[0] == []
        assert everything(client).endswith(b"alive")


def test_probes_that_nobody_reads_hold_up_nobody(server: Server) -> None:
    with server.connect(HELLO.replace(b"/", b"/livez?times=10_000_000", 1)):
        begun = time.monotonic()
        assert status(server.ask(HELLO)) == 200
        assert time.monotonic() - begun < worker.LINGER


def test_client_that_does_not_close_holds_up_nobody(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            client = stack.enter_context(server.connect(HELLO))
            up_to(client, b"<>")

        begun = time.monotonic()
        assert status(server.ask(HELLO)) == 200
        assert time.monotonic() - begun < worker.LINGER


@pytest.mark.parametrize("server", [2], indirect=True)
def test_client_that_goes_on_keeps_its_thread(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PATIENCE", 5)
    handed_over, hand_over = [], server.worker.hand_over

    def count(conn: TConn) -> None:
        handed_over.append(conn)
        hand_over(conn)

    monkeypatch.setattr(server.worker, "hand_over", count)

    with server.connect() as client:
        for body in (b"one", b"two", b"three"):
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            up_to(client, b"<" + body + b">")

    assert len(handed_over) == 1


@pytest.mark.parametrize("server", [2], indirect=True)
def test_clients_that_pause_do_not_keep_all_threads(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PATIENCE", 5)

    with ExitStack() as stack:
        begun = time.monotonic()
        for _ in range(3):
            client = stack.enter_context(server.connect(HEAD + b"Content-Length: 0\r\n\r\n"))
            up_to(client, b"<>")

        assert time.monotonic() - begun < worker.PATIENCE


def test_worker_that_has_stopped_may_be_told_again(server: Server) -> None:
    server.ask(HELLO)
    server.stop()

    server.worker.set_accept_enabled(False)

    assert server.worker.sockets == []


def test_worker_that_stops_ends_what_it_has_begun(server: Server) -> None:
    with server.connect(), server.connect(HELLO.replace(b"/", b"/slow", 1)) as client:
        time.sleep(0.2)
        begun = time.monotonic()
        server.worker.handle_exit(0, None)

        assert everything(client).endswith(b"slow")
        server.thread.join(10)
        assert time.monotonic() - begun < 2 * worker.LINGER
