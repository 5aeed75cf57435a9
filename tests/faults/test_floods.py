"""Floods: one client, or a few, want all connections, memory, disk or processors of the front.

Meanwhile another client asks for the home page, on new and on kept connections, and also asks an
idle server on the same machine: a busy machine delays both.
"""

import json
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import caddy
import pytest
from figures import report
from load import Client, Load, ask
from projects import BARE, PAYLOADS, WHOLE, run
from stacks import stack_with, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("docker")]

PROGRAM = (PAYLOADS / "floods.py").read_text()
SECONDS = 3
SERVERS = re.compile(r"^ *(\d+) .*(nginx: (?:master|worker)|caddy run|gunicorn --config)", re.M)
STACKS = {
    "caddy-nginx": BARE | {"use_nginx": True, "use_tls": True},
    "caddy": BARE | {"use_tls": True},
}


@pytest.fixture(scope="module")
def secure_stack(engine, cookies_session):
    """Return a function that starts a stack with Caddy, and ends the one before it."""
    with ExitStack() as running:
        started = {}

        def start_once(name):
            if name not in started:
                running.close()
                started.clear()
                options, settings = STACKS[name], caddy.SETTINGS
                new = stack_with(cookies_session, options, "floods", 18620, settings=settings)
                started[name] = running.enter_context(new)
            return started[name]

        yield start_once


@pytest.fixture
def either_stack(request):
    """Return a stack; its front is the service that clients reach."""
    if request.param == "nginx":
        stack = request.getfixturevalue("full_stack")
        stack.front, stack.front_port, stack.connect = "nginx", 8080, {}
        return stack
    stack = request.getfixturevalue("secure_stack")(request.param)
    stack.front, stack.front_port = "caddy", 443
    stack.connect = {"connect": lambda *_, **__: caddy.Secure("localhost", timeout=60)}
    return stack


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    """Start a server that nobody attacks, and return its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "http.server", "--bind=127.0.0.1", str(port)]
    folder = tmp_path_factory.mktemp("idle")
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as server:
        wait_for(lambda: ask(port) == 200, 60)
        yield port
        server.terminate()


def servers(stack):
    """Return the processes of the servers, and how many were killed for memory."""
    found, kills = set(), 0
    for service, container in stack.containers().items():
        top = run(
            "docker", "top", container["Id"], "-eo", "pid,args", cwd=stack.project, check=False
        )
        found |= {(service, pid) for pid, _ in SERVERS.findall(top.stdout)}
        kills += container["RestartCount"] + container["State"]["OOMKilled"]
    return found, kills


FILES = "find -L /proc/[0-9]*/fd -maxdepth 1 -type f -printf '%D:%i %k\\n' 2>/dev/null"


def open_files(stack):
    """Return the size of the files that nginx has open, in MB: they have no names."""
    if not stack.options["use_nginx"]:
        return 0
    lines = stack.inside("nginx", "sh", "-c", FILES, check=False).splitlines()
    sizes = dict(line.split() for line in lines if re.fullmatch(r"\d+:\d+ \d+", line))
    return sum(map(int, sizes.values())) / 1e3


def start(stack, attackers, **attack):
    """Start hostile clients, each in a container, and so with an address of its own."""
    attack |= {"host": stack.front, "port": stack.front_port, "seconds": SECONDS}
    options = ["--rm", "--init", "--cpu-shares=256"]
    image = stack.containers()["web"]["Image"]
    command = ["docker", "run", *options, f"--network={stack.name}_front", "--entrypoint=python"]
    command += [image, "-c", PROGRAM, json.dumps(attack)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, **output) for _ in range(attackers)]


@dataclass
class Outcome:
    """What happened to the others, and to the servers."""

    load: Load
    elsewhere: Load
    killed: set = field(default_factory=set)
    disk: float = 0
    sent: list = field(default_factory=list)
    memory: dict = field(default_factory=dict)

    @property
    def slowest(self):
        return self.load.answers["page"].slowest

    @property
    def limit(self):
        # Beside other tests, the machine is busy. An attack that succeeds delays others for longer.
        least = 1 if WHOLE else 3
        return max(least, 5 * self.elsewhere.answers["page"].slowest)

    def __str__(self):
        memory = ", ".join(f"{service} {size:.0f} MB" for service, size in self.memory.items())
        return (
            f"{self.load.outcome}, slowest {self.slowest:.2f} s (limit {self.limit:.1f} s), "
            f"{'; '.join(self.sent)}, killed: {len(self.killed)}, disk {self.disk:.0f} MB, {memory}"
        )


def page(number):
    return "GET", "/", None


def quickly(stack):
    """Return whether the home page comes at once."""
    begun = time.monotonic()
    status = Client(stack.port, **stack.connect).ask()
    return status == 200 and time.monotonic() - begun < 1


def flood(stack, idle, attackers, **attack):
    """Attack a stack, and return what another client has seen."""
    wait_for(lambda: all(quickly(stack) for _ in range(3)), 60)  # what came before is over
    before, kills = servers(stack)
    with (
        Load(idle, {"page": page}, rate=20) as elsewhere,
        Load(stack.port, {"page": page}, rate=20, keep_alive=True, **stack.connect) as load,
    ):
        outcome = Outcome(load, elsewhere)
        watch(stack, start(stack, attackers, **attack), outcome)
    after, kills_after = servers(stack)
    outcome.killed = (before - after) | ({"restarts"} if kills_after > kills else set())
    report(f"{stack.front} {attackers} × {attack}: {outcome}")
    return outcome


def watch(stack, clients, outcome):
    """Note the largest use of memory and disk, until the hostile clients end."""
    services = [stack.front, "web"] + ["nginx"] * (
        stack.options["use_tls"] and stack.options["use_nginx"]
    )
    while any(client.poll() is None for client in clients):
        for service in services:
            used = stack.memory(service) / 1e6
            outcome.memory[service] = max(used, outcome.memory.get(service, 0))
        outcome.disk = max(outcome.disk, open_files(stack))
    said = [client.communicate() for client in clients]
    assert {client.returncode for client in clients} == {0}, said
    outcome.sent = [output.strip() for output, _ in said]


def row(stack, name, attackers=1, **attack):
    return pytest.param(stack, attackers, attack, id=f"{stack}: {attackers} × {name}")


def expression(stack, position, filler, rate):
    """Text that a careless regular expression reads in quadratic time."""
    attack = {"attack": "expression", "position": position, "filler": filler, "rate": rate}
    return row(stack, f"{filler} in {position}", **attack)


def heads(stack, attackers, head, number):
    return row(
        stack, f"{number} heads, {head}", attackers, attack="heads", head=head, number=number
    )


def readers(stack, attackers, gzip, rate):
    """They ask for a page of 800 kB, and do not read it."""
    name = "readers with gzip" if gzip else "readers"
    return row(stack, name, attackers, attack="readers", gzip=gzip, rate=rate)


def uploads(stack, attackers, chunked, number):
    """They lack their last byte."""
    name = f"{number} uploads{', chunked' * chunked}"
    return row(stack, name, attackers, attack="uploads", chunked=chunked, number=number)


def http2(stack, streams, number, rate):
    attack = {"attack": "http2", "streams": streams, "number": number, "rate": rate}
    return row(stack, f"{number} streams, {streams}", **attack)


# In the order of the stacks, so that each is started once
FLOODS = [
    expression("nginx", "query", "?", 8),
    expression("nginx", "path", "?", 15),
    expression("nginx", "query", "?a", 15),
    expression("nginx", "host", ",", 15),
    expression("nginx", "referer", "?", 15),
    heads("nginx", 1, "few large fields", 3_500),
    heads("nginx", 5, "few large fields", 1_000),
    heads("nginx", 1, "shortest fields", 2_700),
    heads("nginx", 1, "HTTP/1.0", 2_700),
    heads("nginx", 1, "behind a whole request", 250),
    heads("nginx", 3, "drip", 500),
    heads("nginx", 1, "nothing", 2_700),
    readers("nginx", 1, True, 43),
    readers("nginx", 5, True, 5),
    readers("nginx", 1, False, 43),
    uploads("nginx", 1, False, 440),
    uploads("nginx", 1, True, 1_000),
    uploads("nginx", 5, False, 200),
    row("nginx", "connections that close at once", 2, attack="churn", rate=500),
    expression("caddy-nginx", "query", "?", 15),
    heads("caddy-nginx", 1, "endless fields", 400),
    heads("caddy-nginx", 1, "drip", 300),
    readers("caddy-nginx", 1, True, 43),
    uploads("caddy-nginx", 1, False, 440),
    http2("caddy-nginx", "resets", 1_000, 2),
    http2("caddy-nginx", "no window", 40, 1),
    http2("caddy-nginx", "no end", 7_000, 10),
    heads("caddy", 1, "endless fields", 700),
    heads("caddy", 3, "few large fields", 300),
    readers("caddy", 1, True, 43),
    uploads("caddy", 1, False, 440),
    uploads("caddy", 1, True, 350),
    http2("caddy", "resets", 1_000, 2),
    http2("caddy", "no window", 40, 1),
    http2("caddy", "no end", 7_000, 10),
]


# In `make test`, one of each kind; in `make test-faults`, all
QUICK = {
    "nginx: 1 × ? in path",
    "nginx: 5 × 1000 heads, few large fields",
    "nginx: 1 × readers with gzip",
    "nginx: 1 × 440 uploads",
    "caddy-nginx: 1 × 400 heads, endless fields",
}
ROWS = FLOODS if WHOLE else [row for row in FLOODS if row.id in QUICK]


@pytest.mark.parametrize(("either_stack", "attackers", "attack"), ROWS, indirect=["either_stack"])
def test_others_are_served_during_a_flood(either_stack, idle, attackers, attack):
    outcome = flood(either_stack, idle, attackers, **attack)

    assert outcome.killed == set()
    assert outcome.load.failed == []
    assert outcome.slowest < outcome.limit
    # 100 requests in progress of an address × a megabyte, and more
    assert outcome.disk < 150 * attackers
