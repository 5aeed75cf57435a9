"""PostgreSQL hangs while its connections are open: what clients and the probes of Kubernetes see.

No setting of libpq, psycopg or SQLAlchemy limits this wait: the kernel of the server still confirms
what arrives, so that neither tcp_user_timeout nor keepalives end it.
"""

import http.client
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import yaml
from figures import report
from load import ask
from projects import BARE
from stacks import temporary_stack, wait_for

pytestmark = [
    pytest.mark.docker,
    pytest.mark.faults,
    pytest.mark.weekly,
    pytest.mark.xdist_group("frozen database"),
]
OPTIONS = BARE | {"use_postgres": True, "use_kubernetes": True}
FROZEN, CLIENTS = 25, 40  # seconds, and clients; there are 16 threads
LONGEST = FROZEN + 60


@pytest.fixture(scope="module")
def stack(engine, cookies_session):
    with temporary_stack(cookies_session, OPTIONS, "frozen", 8246) as stack:
        stack.up()
        yield stack


def probes(stack):
    """Return the probes of web in the manifest, by name."""
    text = (stack.project / "deploy/kubernetes/web.yaml").read_text()
    deployment = next(yaml.safe_load_all(text))
    [web] = deployment["spec"]["template"]["spec"]["containers"]
    return {name: web[name] for name in ("livenessProbe", "readinessProbe")}


def succeeds(probe, address):
    """Send a probe as the kubelet does, to the address of the container."""
    try:
        if "tcpSocket" in probe:
            socket.create_connection(address, timeout=probe["timeoutSeconds"]).close()
            return True
        asked = probe["httpGet"]
        headers = {field["name"]: field["value"] for field in asked["httpHeaders"]}
        connection = http.client.HTTPConnection(*address, timeout=probe["timeoutSeconds"])
        with closing(connection):
            connection.request("GET", asked["path"], headers=headers)
            return 200 <= connection.getresponse().status < 400
    except OSError:
        return False


class Kubelet:
    """Sends each probe once a second, and keeps when it was sent and whether it succeeded."""

    def __init__(self, probes, address):
        self.probes, self.address = probes, address
        self.seen = {name: [] for name in probes}
        self.stop = threading.Event()

    def send(self, name):
        while not self.stop.wait(1):
            sent = time.monotonic()
            self.seen[name].append((sent, succeeds(self.probes[name], self.address)))

    def __enter__(self):
        self.threads = [threading.Thread(target=self.send, args=(name,)) for name in self.probes]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def failures(self, name, begin=0, end=float("inf")):
        return [sent for sent, good in self.seen[name] if begin <= sent < end and not good]


def test_no_pod_is_restarted_while_postgres_hangs(stack):
    web, postgres = (stack.containers()[name] for name in ("web", "postgres"))
    [network] = (n for name, n in web["NetworkSettings"]["Networks"].items() if "front" in name)
    list_of_notes = {"path": "/notes", "timeout": LONGEST}

    with (
        ThreadPoolExecutor(CLIENTS) as pool,
        Kubelet(probes(stack), (network["IPAddress"], 8000)) as k,
    ):
        warm = [pool.submit(ask, stack.port, **list_of_notes) for _ in range(CLIENTS)]
        assert {one.result() for one in warm} == {200}
        wait_for(lambda: k.seen["readinessProbe"], 30)
        stack.pause(postgres["Id"])
        frozen = time.monotonic()
        waiting = [pool.submit(ask, stack.port, **list_of_notes) for _ in range(CLIENTS)]
        time.sleep(FROZEN)
        answered = sum(one.done() for one in waiting)
        stack.compose("unpause", "postgres")
        mended = time.monotonic()
        recovered = wait_for(lambda: ask(stack.port, path="/readyz") == 200, 30)
        statuses = Counter(one.result() for one in waiting)
        time.sleep(3)

    unready = k.failures("readinessProbe", frozen, mended)
    report(
        f"PostgreSQL hung for {FROZEN} s: {answered} of {CLIENTS} requests were answered meanwhile, "
        f"later {dict(statuses)}; liveness failed {len(k.failures('livenessProbe'))} times, "
        f"readiness {len(unready)}; ready again after {recovered:.1f} s"
    )
    assert k.failures("livenessProbe") == []
    assert unready, "threads were free: the comments of web.yaml are no longer true"
    assert k.failures("readinessProbe", mended + 20) == []
    assert set(statuses) <= {200, 503}
    assert stack.containers()["web"]["State"]["StartedAt"] == web["State"]["StartedAt"]
    assert ask(stack.port, path="/notes") == 200
