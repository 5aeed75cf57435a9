"""What clients do to a service on purpose, with nginx and without.

Slow clients are sent to nginx only: without it, something else that buffers has to stand in front.
"""

import http.client
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from urllib.parse import quote

import pytest
from conftest import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from load import Answers, Client, Load, ask
from stacks import report, wait_for

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


# What gunicorn answers 500, or waits for the rest of: it needs a proxy in front
MESSAGES_TO_NGINX = {
    "bad chunk size": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "chunk size of a program": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "chunk without end": CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(60),
}


def exchange(door, message):
    """All that comes back until the server closes the connection, or sends nothing more."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=15) as client:
        client.sendall(message)
        answer = b""
        try:
            while data := client.recv(65_536):
                answer += data
                client.settimeout(0.3)
        except TimeoutError:
            pass
    return answer


def check_refusal(answer):
    assert len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) == 1
    status = int(answer.split()[1])
    assert 400 <= status < 500 or status in {501, 505}
    assert b"X-Injected" not in answer.partition(b"\r\n\r\n")[0]
    assert b"Traceback" not in answer


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_malformed_message_gets_one_refusal(door, message):
    answer = exchange(door, message)

    check_refusal(answer)


@pytest.mark.parametrize("message", MESSAGES_TO_NGINX.values(), ids=MESSAGES_TO_NGINX)
def test_malformed_message_is_refused_by_nginx(lab, message):
    answer = exchange(lab, message)

    check_refusal(answer)


def test_bare_line_feeds_do_not_hide_a_request(door):
    """nginx reads them as line ends, as RFC 9112 (2.2) lets it; the service itself refuses them."""
    answer = exchange(door, b"GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n")

    assert len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) == 1
    assert int(answer.split()[1]) == (200 if door.options["use_nginx"] else 400)


def test_no_message_leaves_a_traceback_in_the_log(door):
    for message in MESSAGES.values():
        exchange(door, message)

    assert [line for line in door.logs("web", "--tail=200") if "Traceback" in line] == []


SIZES = {
    "body": (POST + b"Content-Length: 200000000\r\n\r\n", {413}),
    "field": (GET + b"X-A: " + b"x" * 40_000 + b"\r\n\r\n", {400, 431}),
    "fields": (GET + b"X-A: 1\r\n" * 1_500 + b"\r\n", {400, 431}),
    "address": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414}),
}


@pytest.mark.parametrize("part", SIZES)
def test_what_is_too_large_is_refused(door, part):
    message, expected = SIZES[part]

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


@pytest.fixture(scope="module")
def long_request(lab):
    """A request of 64 seconds, which the other tests of this module do not wait for."""

    def timed():
        begun = time.monotonic()
        response = lab.get("/faults/sleep/64", timeout=80)
        return response, time.monotonic() - begun

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(timed)


def page(number):
    return "GET", "/", None


def connections(lab, stack, number, beginning):
    """As many connections, each with the beginning of a request."""
    made = [
        stack.enter_context(socket.create_connection(("127.0.0.1", lab.port), timeout=30))
        for _ in range(number)
    ]
    for client in made:
        client.sendall(beginning)
    return made


def drip(clients, data, seconds):
    """Send a little on each connection every second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            with suppress(OSError):
                client.send(data)
        time.sleep(1)


SLOW = {
    "heads": (GET, b"X-A: 1\r\n"),
    "bodies": (POST + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.usefixtures("long_request")
def test_slow_clients_leave_the_service_to_others(lab, kind):
    beginning, more = SLOW[kind]
    with ExitStack() as stack, Load(lab.port, {"page": page}) as load:
        clients = connections(lab, stack, 300, beginning)
        attacked = time.monotonic()
        drip(clients, more, 5)

    during = load.answers["page"].between(attacked)
    report(f"300 slow {kind}: {during}")
    assert set(load.statuses) == {200}
    assert during.slowest < 1


def test_clients_that_do_not_read_leave_the_service_to_others(lab):
    """Their windows are small, and a page of notes is a megabyte."""
    for number in range(100):
        note = {"title": f"Long {number}", "body": "x" * 10_000}
        assert ask(lab.port, "POST", "/notes", note) == 201
    message = b"GET /notes?per_page=100 HTTP/1.1\r\n" + HOST + b"\r\n"

    with ExitStack() as stack, Load(lab.port, {"page": page}) as load:
        for _ in range(40):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
            client.connect(("127.0.0.1", lab.port))
            client.sendall(message * 4)
        time.sleep(3)

    report(f"40 clients that do not read a megabyte: {load}")
    assert set(load.statuses) == {200}


def test_idle_connections_leave_room_for_others(lab):
    with ExitStack() as stack:
        connections(lab, stack, 2_300, b"")

        answers = Answers()
        for _ in range(20):
            begun = time.monotonic()
            status = ask(lab.port)
            answers.seen.append((begun, time.monotonic() - begun, status))

    report(f"2,300 idle connections: {answers}")
    assert set(answers.statuses) == {200}
    assert answers.slowest < 1


UPLOAD = b"POST /faults/upload HTTP/1.1\r\n" + HOST + b"Connection: close\r\n"


def test_bodies_that_are_almost_complete_use_no_memory(lab):
    size, number = 1 << 20, 120
    head = UPLOAD + f"Content-Length: {size}\r\n\r\n".encode()

    def used():
        return lab.memory("nginx") + lab.memory("web")

    before = used()
    with ExitStack() as stack, Load(lab.port, {"page": page}) as load:
        clients = connections(lab, stack, number, head + bytes(size - 1))
        grown = (used() - before) / 1e6
        for client in clients:
            client.sendall(b"x")
        statuses = {int(client.recv(65_536).split()[1]) for client in clients}

    report(f"{number} bodies of 1 MiB at once: {grown:.0f} MB of memory; the others: {load}")
    assert grown < 30
    assert statuses == {200}
    assert set(load.statuses) == {200}


def test_slow_client_is_not_waited_for_endlessly(lab):
    with ExitStack() as stack:
        begun = time.monotonic()
        clients = [connections(lab, stack, 1, SLOW[kind][0])[0] for kind in ("heads", "bodies")]
        answers = [client.recv(1_000) for client in clients]
        took = time.monotonic() - begun

    report(f"half a head, half a body: {[answer[:12] for answer in answers]} after {took:.0f} s")
    assert took < 30


def test_length_of_65_kilobytes_of_digits_is_refused_at_once(door):
    message = GET + b"Content-Length: " + b"0" * 65_000 + b"x\r\n\r\n"

    with Load(door.port, {"page": page}) as load:
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", door.port), timeout=15) as client:
                send_all(client, message)
        time.sleep(3)

    report(f"Content-Length of 65 kB of digits: {load}")
    assert set(load.statuses) == {200}
    assert load.answers["page"].slowest < 1


def test_body_in_ten_thousand_chunks_is_read_at_once(door):
    chunks = b"1\r\nx\r\n" * 10_000 + b"100000\r\n" + bytes(1 << 20) + b"\r\n0\r\n\r\n"

    begun = time.monotonic()
    answer = exchange(door, UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    took = time.monotonic() - begun

    report(f"10,000 chunks of a byte and one of a megabyte: {took:.2f} s")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"bytes": 10_000 + (1 << 20)}
    assert took < 3


def test_upload_takes_time_in_proportion_to_its_size(door):
    def seconds(size):
        connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
        begun = time.monotonic()
        connection.request("POST", "/faults/upload", bytes(size))
        response = connection.getresponse()
        assert json.loads(response.read()) == {"bytes": size}
        connection.close()
        return time.monotonic() - begun

    seconds(10_000_000)
    before = door.memory("web")
    took = {size: min(seconds(size * 1_000_000) for _ in range(3)) for size in (40, 80)}

    grown = (door.memory("web") - before) / 1e6
    report(f"upload of 40 MB {took[40]:.2f} s, of 80 MB {took[80]:.2f} s, {grown:.0f} MB of memory")
    assert took[40] < 3
    assert took[80] < 3 * took[40] + 0.2
    assert grown < 20


def test_host_of_8_kilobytes_does_not_slow_others(lab):
    message = b"GET / HTTP/1.1\r\nHost: " + b".a" * 2_000 + b"," * 3_900 + b"\r\n\r\n"

    with ExitStack() as stack, Load(lab.port, {"page": page}) as load:
        for _ in range(48):
            client = socket.create_connection(("127.0.0.1", lab.port), timeout=15)
            stack.enter_context(client).sendall(message)
            time.sleep(1 / 12)

    report(f"12 requests a second with a host of 8 kB: {load}")
    assert set(load.statuses) == {200}
    assert load.answers["page"].slowest < 1


PATHS = [
    "/static/../__init__.py", "/static/%2e%2e/__init__.py", "/static/..%2f__init__.py",
    "/static../nginx.conf", "/static/..%5c__init__.py", "/static/%00", "/static/.%2e/.%2e/.env",
    "/static//etc/passwd", "/.env", "/.git/config", "/console", "/server-status",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_the_static_files(door, path):
    answer = exchange(door, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert int(answer.split()[1]) in {308, 400, 404}  # 308: to the same path with one slash less


STATIC = ["/" + "a" * 300 + "/../style.css", "/%ff", "/" + "a/" * 100 + "style.css"]


@pytest.mark.parametrize("path", STATIC, ids=["long", "no UTF-8", "deep"])
def test_odd_path_of_a_static_file_is_no_error_of_the_server(door, path):
    answer = exchange(door, f"GET /static{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert int(answer.split()[1]) in {200, 400, 404}


def test_paths_of_static_files_that_do_not_exist_use_no_memory(open_lab):
    def fill(numbers):
        client = Client(open_lab.port, keep_alive=True)
        for number in numbers:
            assert 0 < client.ask(path=f"/static/{number:0200}/../style.css") < 500
        client.connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, [range(n, 1_000, 4) for n in range(4)]))
        before = open_lab.memory("web")
        list(pool.map(fill, [range(1_000 + n, 4_000, 4) for n in range(4)]))

    grown = (open_lab.memory("web") - before) / 1e6
    report(f"3,000 paths under /static/: {grown:.1f} MB")
    assert grown < 4


@pytest.mark.parametrize(("method", "path"), [("GET", "/nope"), ("PATCH", "/"), ("POST", "/notes")])
def test_errors_tell_nothing_about_what_runs_here(door, method, path):
    answer = exchange(door, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    head, _, body = answer.partition(b"\r\n\r\n")
    assert 400 <= int(head.split()[1]) < 500
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
SEEN = b"GET /faults/seen HTTP/1.1\r\n" + HOST


def believed(answer):
    """What the service believes of a request, without the address of the client."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"evil" not in head
    assert b"Strict-Transport-Security" not in head
    seen = json.loads(body)
    assert seen.pop("client") != "6.6.6.6"
    return seen


@pytest.mark.parametrize("name", FORGED)
def test_forged_header_is_not_believed(door, name):
    answer = exchange(door, SEEN + f"{name}: {FORGED[name]}\r\n\r\n".encode())

    assert believed(answer) == {"url": "http://localhost/faults/seen", "root": ""}


INSIDE = """
import socket, sys
client = socket.create_connection(("127.0.0.1", 8000))
client.sendall(sys.argv[1].encode())
while data := client.recv(65_536):
    sys.stdout.write(data.decode())
"""


def test_forged_header_from_the_same_host_is_not_believed(open_lab):
    fields = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items())
    message = SEEN.decode() + fields + "Connection: close\r\n\r\n"

    answer = open_lab.inside("web", "python", "-c", INSIDE, message)

    answer = answer.replace("\n", "\r\n") if "\r\n" not in answer else answer
    assert believed(answer.encode()) == {"url": "http://localhost/faults/seen", "root": ""}


HOSTS = [
    "evil.example", "localhost.evil.example", "localhost@evil", "", "evil.com,evil.com",
    "localhost,evil.com",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_forged_host_is_refused(door, host):
    answer = exchange(door, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert int(answer.split()[1]) == 400


ODD = [b"%ff", b"%0a", b"%00", b'"quoted"', b"\xff", b"%e2%80%a8", b"\\", b"%22,%22level"]


def test_every_path_is_logged_as_json(door):
    for path in ODD:
        exchange(door, b"GET /odd" + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    services = ["web", "nginx"] if door.options["use_nginx"] else ["web"]

    for service in services:
        lines = [json.loads(line) for line in door.logs(service, "--tail=40")]
        found = [line for line in lines if line.get("path", "").startswith(("/odd", "-"))]
        assert len(found) >= len(ODD) - 2, service  # gunicorn and nginx refuse some themselves


def test_client_cannot_forge_a_line_of_the_console_log(open_lab):
    name = f"{open_lab.name}-console"
    forged = quote("\n12:00:00 INFO     forged\r\x1b[31m\u2028forged")
    message = f"GET /{forged} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    console = ["--detach", "--rm", "--no-deps", f"--name={name}", "--env=LOG_FORMAT=console"]
    run("docker", "rm", "--force", name, cwd=open_lab.project, check=False)
    open_lab.compose("run", *console, "web")

    def inside(*command, check=True):
        return run("docker", "exec", name, *command, cwd=open_lab.project, check=check)

    wait_for(lambda: inside("python", "bin/healthcheck", check=False).returncode == 0, 20)
    inside("python", "-c", INSIDE, message)
    log = run("docker", "logs", name, cwd=open_lab.project).stdout
    run("docker", "rm", "--force", name, cwd=open_lab.project)

    [line] = [line for line in log.split("\n") if "forged" in line]
    assert line.isprintable()
    assert "GET /" in line


def test_empty_key_among_the_fallbacks_is_refused_at_the_start(open_lab):
    env = f"--env=SECRET_KEY_FALLBACKS={'Qx7-Zp2_Lm9' * 4},"
    command = ["gunicorn", "--check-config", "--config", "python:config.gunicorn"]

    done = open_lab.compose("run", "--rm", "--no-deps", env, "web", *command, check=False)

    assert done.returncode != 0
    assert "SECRET_KEY_FALLBACKS: Must be 32 random characters or more" in done.stdout


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


def test_request_that_takes_too_long_is_answered_by_nginx(lab, long_request):
    response, took = long_request.result()

    report(f"request of 64 s: {response.status} after {took:.1f} s")
    assert response.status == 504
    assert response.getheader("Content-Type") == "application/problem+json"
    assert 59 < took < 62
    assert lab.containers()["web"]["State"]["Health"]["Status"] == "healthy"
