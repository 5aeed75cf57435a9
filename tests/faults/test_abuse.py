"""Attacks of clients on a service, with nginx and without.

Slow clients are sent to nginx only: without it, something else that buffers has to stand in front.
"""

import http.client
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from urllib.parse import quote

import pytest
from figures import report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from load import Answers, Client, Load, ask
from stacks import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("docker")]

HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
SOON = 8  # seconds: a request that waits for an attacker takes longer, on a busy machine too
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
    "space before the colon": GET + b"X-A : 1\r\n\r\n",
    "folded line": GET + b"X-A: 1\r\n 2\r\n\r\n",
    "NUL in a field": GET + b"X-A: a\0b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "control characters": b"GET /\x01\x02 HTTP/1.1\r\n" + HOST + b"\r\n",
    "line break in the path": b"GET /%0d%0aX-Injected:%201 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT localhost:22 HTTP/1.1\r\n" + HOST + b"\r\n",
}


# gunicorn returns 500 for these, or waits for the rest: it needs a reverse proxy
MESSAGES_TO_NGINX = {
    "bad chunk size": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "chunk size of a program": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "chunk without end": CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(60),
}


def exchange(either_stack, message):
    """Return everything that the server sends until it closes the connection or stops sending."""
    with socket.create_connection(("127.0.0.1", either_stack.port), timeout=15) as client:
        client.sendall(message)
        answer = b""
        try:
            while data := client.recv(65_536):
                answer += data
                client.settimeout(0.3)
        except TimeoutError:
            pass
    return answer


def ask_for(either_stack, path, method="GET", host="localhost", fields=b""):
    """Return the whole response for a path, which is sent unchanged."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n".encode()
    return exchange(either_stack, head + fields + b"\r\n")


def status(answer):
    return int(answer.split()[1])


def is_refusal(answer):
    return (
        len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) == 1
        and (400 <= status(answer) < 500 or status(answer) in {501, 505})
        and b"X-Injected" not in answer.partition(b"\r\n\r\n")[0]
        and b"Traceback" not in answer
    )


def test_malformed_message_gets_one_error_response(either_stack):
    messages = MESSAGES | (MESSAGES_TO_NGINX if either_stack.options["use_nginx"] else {})

    answers = {name: exchange(either_stack, message) for name, message in messages.items()}

    assert {name: a for name, a in answers.items() if not is_refusal(a)} == {}
    assert [line for line in either_stack.logs("web", "--tail=200") if "Traceback" in line] == []


def test_bare_line_feeds_do_not_smuggle_a_request(either_stack):
    """nginx accepts them as line ends, as RFC 9112 (2.2) allows; the service rejects them."""
    answer = exchange(either_stack, b"GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n")

    assert len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) == 1
    assert status(answer) == (200 if either_stack.options["use_nginx"] else 400)


SIZES = {
    "field": (GET + b"X-A: " + b"x" * 40_000 + b"\r\n\r\n", {400, 431}),
    "fields": (GET + b"X-A: 1\r\n" * 1_500 + b"\r\n", {400, 431}),
    "address": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414}),
}


@pytest.mark.parametrize("part", SIZES)
def test_request_that_is_too_large_is_rejected(either_stack, part):
    message, expected = SIZES[part]

    with socket.create_connection(("127.0.0.1", either_stack.port), timeout=15) as client:
        sender = threading.Thread(target=send_all, args=(client, message))
        sender.start()
        answer = client.recv(65_536)
        sender.join()

    assert status(answer) in expected


def send_all(client, message):
    """Send as much as the server accepts."""
    with suppress(OSError):
        client.sendall(message)


@pytest.fixture(scope="module")
def long_request(full_stack):
    """Send a request that takes 64 seconds, while the other tests of this module run."""

    def timed():
        begun = time.monotonic()
        response = full_stack.get("/faults/sleep/64", timeout=80)
        return response, time.monotonic() - begun

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(timed)


def page(number):
    return "GET", "/", None


def connections(full_stack, stack, number, beginning):
    """Open ``number`` connections, and send the beginning of a request on each."""
    made = [
        stack.enter_context(socket.create_connection(("127.0.0.1", full_stack.port), timeout=30))
        for _ in range(number)
    ]
    for client in made:
        client.sendall(beginning)
    return made


def drip(clients, data, seconds):
    """Send a few bytes on each connection every second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            with suppress(OSError):
                client.send(data)
        time.sleep(1)


IN_PROGRESS = 90  # fewer than nginx accepts of one address: see test_floods.py
SLOW = {
    "heads": (300, GET, b"X-A: 1\r\n"),
    "bodies": (IN_PROGRESS, POST + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": (IN_PROGRESS, CHUNKED, b"1\r\nx\r\n"),
}


def has_no_connections(stack):
    """Return whether nginx has closed the connections of the test before: an address may have 100."""
    sockets = [line.split() for line in stack.inside("nginx", "cat", "/proc/net/tcp").splitlines()]
    of_clients = [socket for socket in sockets if socket[1].endswith(":1F90")]  # port 8080
    return len([socket for socket in of_clients if socket[3] in {"01", "08"}]) < 5


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.usefixtures("long_request")
def test_slow_clients_do_not_delay_others(full_stack, kind):
    number, beginning, more = SLOW[kind]
    wait_for(lambda: has_no_connections(full_stack), 60)
    with ExitStack() as stack, Load(full_stack.port, {"page": page}) as load:
        clients = connections(full_stack, stack, number, beginning)
        attacked = time.monotonic()
        drip(clients, more, 2)

    during = load.answers["page"].between(attacked)
    report(f"{number} slow {kind}: {during}")
    assert set(load.statuses) == {200}
    assert during.slowest < SOON


def test_clients_that_do_not_read_do_not_block_others(full_stack):
    """Their receive windows are small, and a page of notes has a megabyte."""
    for number in range(100):
        note = {"title": f"Long {number}", "body": "x" * 10_000}
        assert ask(full_stack.port, "POST", "/notes", note) == 201
    message = b"GET /notes?per_page=100 HTTP/1.1\r\n" + HOST + b"\r\n"

    with ExitStack() as stack, Load(full_stack.port, {"page": page}) as load:
        for _ in range(40):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
            client.connect(("127.0.0.1", full_stack.port))
            client.sendall(message * 4)
        time.sleep(3)

    report(f"40 clients that do not read a megabyte: {load}")
    assert set(load.statuses) == {200}


def test_idle_connections_do_not_block_others(full_stack):
    with ExitStack() as stack:
        connections(full_stack, stack, 2_300, b"")

        answers = Answers()
        for _ in range(20):
            begun = time.monotonic()
            status = ask(full_stack.port)
            answers.seen.append((begun, time.monotonic() - begun, status))

    report(f"2,300 idle connections: {answers}")
    assert set(answers.statuses) == {200}
    assert answers.slowest < SOON


UPLOAD = b"POST /faults/upload HTTP/1.1\r\n" + HOST + b"Connection: close\r\n"


def test_incomplete_bodies_use_no_memory(full_stack):
    size, number = 1 << 20, IN_PROGRESS
    head = UPLOAD + f"Content-Length: {size}\r\n\r\n".encode()

    def used():
        return full_stack.memory("nginx") + full_stack.memory("web")

    before = used()
    with ExitStack() as stack, Load(full_stack.port, {"page": page}) as load:
        clients = connections(full_stack, stack, number, head + bytes(size - 1))
        grown = (used() - before) / 1e6
        for client in clients:
            client.sendall(b"x")
        statuses = {int(client.recv(65_536).split()[1]) for client in clients}

    report(f"{number} bodies of 1 MiB at once: {grown:.0f} MB of memory; the others: {load}")
    assert grown < 30
    assert statuses == {200}
    assert set(load.statuses) == {200}


def test_complete_bodies_that_wait_use_no_memory(direct_stack):
    """While all 16 threads are busy, the bodies stay in the buffers of the kernel."""
    size, number = 1 << 20, 300
    message = UPLOAD + f"Content-Length: {size}\r\n\r\n".encode() + bytes(size)
    before = peak = direct_stack.memory("web")
    waiting = []

    with ThreadPoolExecutor(number + 32) as pool:
        busy = [pool.submit(ask, direct_stack.port, path="/faults/sleep/2") for _ in range(32)]
        time.sleep(1)
        uploads = [pool.submit(exchange, direct_stack, message) for _ in range(number)]
        while not waiting or waiting[-1]:
            peak = max(peak, direct_stack.memory("web"))
            waiting.append(sum(not upload.done() for upload in uploads))

    grown = (peak - before) / 1e6
    report(f"{waiting[0]} complete bodies of 1 MiB wait: {grown:.0f} MB of memory")
    assert waiting[0] > 100
    assert grown < 75
    assert {status(upload.result()) for upload in uploads} == {200}
    assert {request.result() for request in busy} == {200}


def test_slow_client_is_disconnected(full_stack):
    with ExitStack() as stack:
        begun = time.monotonic()
        clients = [
            connections(full_stack, stack, 1, SLOW[kind][1])[0] for kind in ("heads", "bodies")
        ]
        answers = [client.recv(1_000) for client in clients]
        took = time.monotonic() - begun

    report(f"half a head, half a body: {[answer[:12] for answer in answers]} after {took:.0f} s")
    assert took < 30


def test_content_length_of_65_kilobytes_does_not_delay_others(either_stack):
    message = GET + b"Content-Length: " + b"0" * 65_000 + b"x\r\n\r\n"

    with Load(either_stack.port, {"page": page}) as load:
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", either_stack.port), timeout=15) as client:
                send_all(client, message)
        time.sleep(1)

    report(f"Content-Length of 65 kB of digits: {load}")
    assert set(load.statuses) == {200}
    assert load.answers["page"].slowest < SOON


def test_body_in_ten_thousand_chunks_is_read_quickly(either_stack):
    chunks = b"1\r\nx\r\n" * 10_000 + b"100000\r\n" + bytes(1 << 20) + b"\r\n0\r\n\r\n"

    begun = time.monotonic()
    answer = exchange(either_stack, UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    took = time.monotonic() - begun

    report(f"10,000 chunks of a byte and one of a megabyte: {took:.2f} s")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"bytes": 10_000 + (1 << 20)}
    assert took < SOON


def test_upload_without_nginx_takes_linear_time(direct_stack):
    def seconds(size):
        connection = http.client.HTTPConnection("127.0.0.1", direct_stack.port, timeout=60)
        begun = time.monotonic()
        connection.request("POST", "/faults/upload", bytes(size))
        response = connection.getresponse()
        assert json.loads(response.read()) == {"bytes": size}
        connection.close()
        return time.monotonic() - begun

    seconds(10_000_000)
    before = direct_stack.memory("web")
    took = {size: min(seconds(size * 1_000_000) for _ in range(3)) for size in (40, 80)}

    grown = (direct_stack.memory("web") - before) / 1e6
    report(f"upload of 40 MB {took[40]:.2f} s, of 80 MB {took[80]:.2f} s, {grown:.0f} MB of memory")
    assert took[80] < 3 * took[40] + 1
    assert grown < 20


def test_host_of_8_kilobytes_does_not_delay_others(full_stack):
    message = b"GET / HTTP/1.1\r\nHost: " + b".a" * 2_000 + b"," * 3_900 + b"\r\n\r\n"

    with ExitStack() as stack, Load(full_stack.port, {"page": page}) as load:
        for _ in range(48):
            client = socket.create_connection(("127.0.0.1", full_stack.port), timeout=15)
            stack.enter_context(client).sendall(message)
            time.sleep(1 / 12)

    report(f"12 requests a second with a host of 8 kB: {load}")
    assert set(load.statuses) == {200}
    assert load.answers["page"].slowest < SOON


PATHS = [
    "/static/../__init__.py", "/static/%2e%2e/__init__.py", "/static/..%2f__init__.py",
    "/static../nginx.conf", "/static/..%5c__init__.py", "/static/%00", "/static/.%2e/.%2e/.env",
    "/static//etc/passwd", "/.env", "/.git/config", "/console", "/server-status",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_escapes_the_static_directory(either_stack, path):
    # 308: to the same path with one slash less
    assert status(ask_for(either_stack, path)) in {308, 400, 404}


STATIC = ["/" + "a" * 300 + "/../style.css", "/%ff", "/" + "a/" * 100 + "style.css"]


@pytest.mark.parametrize("path", STATIC, ids=["long", "no UTF-8", "deep"])
def test_odd_path_of_a_static_file_is_not_a_server_error(either_stack, path):
    assert status(ask_for(either_stack, f"/static{path}")) in {200, 400, 404}


def test_different_paths_of_a_static_file_use_no_memory(direct_stack):
    def get(numbers):
        client = Client(direct_stack.port, keep_alive=True)
        with closing(client.connection):
            return {client.ask(path=f"/static/{number}/../style.css") for number in numbers}

    def get_at_once(numbers):
        with ThreadPoolExecutor(8) as pool:
            return set.union(*pool.map(get, [numbers[k::8] for k in range(8)]))

    # New processes, which have no free memory from other tests
    direct_stack.compose("up", "--detach", "--force-recreate", "--no-deps", "--wait", "web")
    get_at_once(range(500))
    before = direct_stack.memory("web")
    statuses = get_at_once(range(500, 2_500))

    grown = (direct_stack.memory("web") - before) / 1e6
    report(f"2,000 paths of a static file: {grown:.1f} MB of memory")
    assert statuses == {200}
    assert grown < 3


@pytest.mark.parametrize(("method", "path"), [("GET", "/nope"), ("PATCH", "/"), ("POST", "/notes")])
def test_errors_reveal_no_internals(either_stack, method, path):
    answer = ask_for(either_stack, path, method)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert 400 <= status(answer) < 500
    assert not [word for word in (b"Python", b"Werkzeug", b"Traceback", b"/app/") if word in answer]
    servers = [line for line in head.split(b"\r\n") if line.lower().startswith(b"server:")]
    assert servers in ([b"Server: nginx"], [b"Server: gunicorn"])
    assert b"content-security-policy" in head.lower()


FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "6666",
    "X-Forwarded-Ssl": "on",
    "X-Script-Name": "/evil",
    "Script-Name": "/evil",
    "SCRIPT_NAME": "/evil",
    "Forwarded": "for=6.6.6.6;host=evil.example;proto=https",
    "X-Real-IP": "6.6.6.6",
    "X-Request-ID": "evil-request-id",
}


def believed(answer):
    """Return what the service knows about a request, without the address of the client."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"evil" not in head
    assert b"Strict-Transport-Security" not in head
    seen = json.loads(body)
    assert seen.pop("client") != "6.6.6.6"
    return seen


@pytest.mark.parametrize("name", FORGED)
def test_forged_header_is_ignored(either_stack, name):
    answer = ask_for(either_stack, "/faults/seen", fields=f"{name}: {FORGED[name]}\r\n".encode())

    assert believed(answer) == {"url": "http://localhost/faults/seen", "root": ""}


INSIDE = """
import socket, sys
client = socket.create_connection(("127.0.0.1", 8000))
client.sendall(sys.argv[1].encode())
while data := client.recv(65_536):
    sys.stdout.write(data.decode())
"""


def test_forged_header_from_the_same_host_is_ignored(direct_stack):
    fields = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items())
    message = f"GET /faults/seen HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n"

    answer = direct_stack.inside("web", "python", "-c", INSIDE, message)

    answer = answer.replace("\n", "\r\n") if "\r\n" not in answer else answer
    assert believed(answer.encode()) == {"url": "http://localhost/faults/seen", "root": ""}


HOSTS = [
    "evil.example", "localhost.evil.example", "localhost@evil", "", "evil.com,evil.com",
    "localhost,evil.com",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_forged_host_is_rejected(either_stack, host):
    assert status(ask_for(either_stack, "/", host=host)) == 400


ODD = [b"%ff", b"%0a", b"%00", b'"quoted"', b"\xff", b"%e2%80%a8", b"\\", b"%22,%22level"]


def test_every_path_is_logged_as_json(either_stack):
    for path in ODD:
        exchange(either_stack, b"GET /odd" + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    services = ["web", "nginx"] if either_stack.options["use_nginx"] else ["web"]

    for service in services:
        lines = [json.loads(line) for line in either_stack.logs(service, "--tail=40")]
        found = [line for line in lines if line.get("path", "").startswith(("/odd", "-"))]
        assert len(found) >= len(ODD) - 2, service  # gunicorn and nginx reject some themselves


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
def test_no_request_to_notes_returns_5xx(either_stack, method, path, query, body, kind):
    address = "/notes" + quote(path, errors="replace")
    address += "?" + "&".join(f"{k}={quote(str(v), errors='replace')}" for k, v in query.items())
    head = f"{method} {address} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    head += f"Accept: {kind}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"

    assert 200 <= status(exchange(either_stack, head.encode() + body)) < 500


def test_request_that_takes_too_long_gets_504(full_stack, long_request):
    response, took = long_request.result()

    report(f"request of 64 s: {response.status} after {took:.1f} s")
    assert response.status == 504
    assert response.getheader("Content-Type") == "application/problem+json"
    assert 59 < took < 70
    assert full_stack.containers()["web"]["State"]["Health"]["Status"] == "healthy"
