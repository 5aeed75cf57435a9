"""What clients do to a service on purpose, at both kinds of front door: nginx, and the service itself."""

import json
import re
import socket
import threading
import time
from contextlib import ExitStack, suppress
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from load import Answers, Load, ask
from stacks import report

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("docker")]

HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST /notes HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"

MESSAGES = {
    "both lengths": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a request behind both lengths": POST
    + b"Content-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding twice": CHUNKED.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    + b"0\r\n\r\n",
    "bad chunk size": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "chunk size of a program": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "chunk without end": CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
    "space before the colon": GET + b"X-A : 1\r\n\r\n",
    "folded line": GET + b"X-A: 1\r\n 2\r\n\r\n",
    "NUL in a field": GET + b"X-A: a\0b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(60),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "control characters": b"GET /\x01\x02 HTTP/1.1\r\n" + HOST + b"\r\n",
    "line break in the path": b"GET /%0d%0aX-Injected:%201 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT localhost:22 HTTP/1.1\r\n" + HOST + b"\r\n",
}


def exchange(door, message):
    """All that comes back until the door closes, or has nothing more to say."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=15) as client:
        client.sendall(message)
        answer = b""
        try:
            while data := client.recv(65_536):
                answer += data
                client.settimeout(0.5)
        except TimeoutError:
            pass
    return answer


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_malformed_message_gets_one_refusal(door, message):
    answer = exchange(door, message)

    assert len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) == 1
    status = int(answer.split()[1])
    assert 400 <= status < 500 or status in {501, 505}
    assert b"X-Injected" not in answer.partition(b"\r\n\r\n")[0]
    assert b"Traceback" not in answer


def test_bare_line_feeds_do_not_hide_a_request(door):
    """nginx reads them as line ends, as RFC 9112 (2.2) lets it; the service itself refuses them."""
    answer = exchange(door, b"GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n")

    assert len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) == 1
    assert int(answer.split()[1]) == (200 if door.options["use_nginx"] else 400)


def test_no_message_leaves_a_traceback_in_the_log(door):
    for message in MESSAGES.values():
        exchange(door, message)

    assert [line for line in door.logs("web") if "Traceback" in line] == []


SIZES = {
    "body": (POST + b"Content-Length: 2000000\r\n\r\n" + b"x" * 2_000_000, {413}),
    "body in chunks": (CHUNKED + b"8000\r\n" + b"x" * 0x8000 + b"\r\n", {413}),
    "field": (GET + b"X-A: " + b"x" * 40_000 + b"\r\n\r\n", {400, 431}),
    "fields": (GET + b"X-A: 1\r\n" * 1_500 + b"\r\n", {400, 431}),
    "address": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414}),
}


@pytest.mark.parametrize("part", SIZES)
def test_what_is_too_large_is_refused(door, part):
    message, expected = SIZES[part]
    if part == "body in chunks":
        head, _, chunk = message.partition(b"\r\n\r\n")
        message = head + b"\r\n\r\n" + chunk * 40

    with socket.create_connection(("127.0.0.1", door.port), timeout=15) as client:
        sender = threading.Thread(target=send_all, args=(client, message))
        sender.start()
        answer = client.recv(65_536)
        sender.join()

    assert int(answer.split()[1]) in expected


def send_all(client, message):
    """Send what the other side takes."""
    with suppress(OSError):
        client.sendall(message)


def connections(door, stack, number, beginning):
    """As many connections, each with the beginning of a request."""
    made = [
        stack.enter_context(socket.create_connection(("127.0.0.1", door.port), timeout=30))
        for _ in range(number)
    ]
    for client in made:
        client.sendall(beginning)
    return made


def drip(clients, data, seconds):
    """Send a little on each connection, again and again; how many were closed meanwhile."""
    closed = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in set(clients) - closed:
            try:
                client.send(data)
            except OSError:
                closed.add(client)
        time.sleep(1)
    return len(closed)


SLOW = {
    "heads": (GET, b"X-A: 1\r\n"),
    "bodies": (POST + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_leave_the_service_to_others(door, kind):
    beginning, more = SLOW[kind]
    with ExitStack() as stack, Load(door.port, {"page": page}, threads=2) as load:
        time.sleep(1)
        clients = connections(door, stack, 200, beginning)
        attacked = time.monotonic()
        drip(clients, more, 8)

    during = load.answers["page"].between(attacked)
    report(f"200 slow {kind}: {during}")
    assert set(during.statuses) == {200}
    assert during.slowest < 1


def page(number):
    return "GET", "/", None


@pytest.mark.parametrize("kind", ["heads", "bodies"])
def test_slow_client_is_not_waited_for_endlessly(door, kind):
    beginning, more = SLOW[kind]
    with socket.create_connection(("127.0.0.1", door.port), timeout=40) as client:
        client.sendall(beginning)
        begun = time.monotonic()
        answer = client.recv(1_000)
        took = time.monotonic() - begun

    report(f"half a request ({kind}): {answer[:35]!r} after {took:.0f} s")
    assert took < 30


def test_clients_that_do_not_read_leave_the_service_to_others(door):
    """Their windows are small, and a page of notes is a megabyte."""
    for number in range(100):
        note = {"title": f"Long {number}", "body": "x" * 10_000}
        assert ask(door.port, "POST", "/notes", note) == 201
    message = b"GET /notes?per_page=100 HTTP/1.1\r\n" + HOST + b"\r\n"

    with ExitStack() as stack, Load(door.port, {"page": page}) as load:
        for _ in range(40):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
            client.connect(("127.0.0.1", door.port))
            client.sendall(message * 4)
        time.sleep(3)

    report(f"40 clients that do not read a megabyte: {load}")
    assert set(load.answers["page"].statuses) == {200}


def test_idle_connections_leave_room_for_others(door):
    with ExitStack() as stack:
        connections(door, stack, 1_500, b"")

        answers = Answers()
        for _ in range(20):
            begun = time.monotonic()
            status = ask(door.port)
            answers.seen.append((begun, time.monotonic() - begun, status))

    report(f"1500 idle connections: {answers}")
    assert set(answers.statuses) == {200}
    assert answers.slowest < 2


PATHS = [
    "/static/../__init__.py", "/static/%2e%2e/__init__.py", "/static/..%2f__init__.py",
    "/static../nginx.conf", "/static/..%5c__init__.py", "/static/%00", "/static/.%2e/.%2e/.env",
    "/static//etc/passwd", "/.env", "/.git/config", "/console", "/server-status",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_the_static_files(door, path):
    answer = exchange(door, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert int(answer.split()[1]) in {308, 400, 404}  # 308: to the same path with one slash less


@pytest.mark.parametrize(("method", "path"), [("GET", "/nope"), ("PATCH", "/"), ("POST", "/notes")])
def test_errors_tell_nothing_about_what_runs_here(door, method, path):
    answer = exchange(door, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    head, _, body = answer.partition(b"\r\n\r\n")
    assert 400 <= int(head.split()[1]) < 500
    assert not [word for word in (b"Python", b"Werkzeug", b"Traceback", b"/app/") if word in answer]
    servers = [line for line in head.split(b"\r\n") if line.lower().startswith(b"server:")]
    assert servers in ([b"Server: nginx"], [b"Server: gunicorn"])
    assert b"content-security-policy" in head.lower()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X_Forwarded_For", "6.6.6.6"),
        ("X_Forwarded_Proto", "https"),
        ("X_Forwarded_Host", "evil.example"),
        ("X_Forwarded_Prefix", "/evil"),
        ("Forwarded", "for=6.6.6.6;host=evil.example;proto=https"),
        ("X_Request_ID", "evil-request-id"),
    ],
)
def test_forged_header_is_not_believed(door, name, value):
    response = door.get("/", **{name: value})

    assert response.status == 200
    assert response.getheader("X-Request-ID") != value
    assert response.getheader("Strict-Transport-Security") is None
    assert "evil" not in response.text
    [line] = [x for x in door.logs("web") if response.getheader("X-Request-ID") in x]
    assert json.loads(line)["remote_addr"] != "6.6.6.6"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost@evil", ""])
def test_forged_host_is_refused(door, host):
    answer = exchange(door, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert answer == b"" or int(answer.split()[1]) == 400


def test_session_cookie_is_for_https_and_this_host_only(door):
    cookie = door.get("/faults/session").getheader("Set-Cookie")

    name, *attributes = cookie.split("; ")
    assert name.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(attributes)
    assert not [attribute for attribute in attributes if attribute.startswith("Domain")]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NOTE = st.fixed_dictionaries(
    {"title": st.text() | ANYTHING}, optional={"body": st.text() | ANYTHING}
)
TOKEN = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]),
    path=st.just("") | st.integers().map("/{}".format) | st.text(max_size=20).map("/{}".format),
    query=st.dictionaries(st.sampled_from(["page", "per_page", "x"]), st.text() | st.integers()),
    body=(NOTE | ANYTHING).map(lambda value: json.dumps(value).encode()) | st.binary(),
    kind=st.sampled_from(["application/json", "text/plain", "application/x-www-form-urlencoded"])
    | TOKEN,
)
def test_nothing_that_is_sent_to_the_notes_is_answered_5xx(door, method, path, query, body, kind):
    address = "/notes" + quote(path, errors="replace")
    address += "?" + "&".join(f"{k}={quote(str(v), errors='replace')}" for k, v in query.items())
    head = f"{method} {address} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    head += f"Accept: {kind}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"

    answer = exchange(door, head.encode() + body)

    assert 200 <= int(answer.split()[1]) < 500
