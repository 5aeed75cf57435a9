"""What clients see when a dependency fails, hangs or is full.

Each test puts load on the stack, breaks one service, repairs it, and prints what clients saw.
"""

import http.client
import json
import socket
import time
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from figures import report
from load import Load, ask, everything, results, slow_requests
from projects import run
from stacks import identity, small_volume, temporary_stack, wait_for, workers

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("docker")]


def compose(command):
    return lambda full_stack, service: full_stack.compose(command, service)


def send(name):
    return lambda full_stack, service: full_stack.signal(service, name)


def network(verb):
    return lambda full_stack, service: full_stack.network(verb, service)


def pause(full_stack, service):
    full_stack.pause(full_stack.containers()[service]["Id"])


def restarted(full_stack, service):
    """Check that Docker has restarted the container."""
    assert full_stack.containers()[service]["RestartCount"] > 0


FAULTS = {
    "stopped": (compose("stop"), compose("start")),
    "killed": (send("KILL"), restarted),
    "cut-off": (network("disconnect"), network("connect")),
    "hung": (pause, compose("unpause")),
}
WEEKLY = [pytest.param(fault, marks=pytest.mark.weekly) for fault in ("stopped", "killed")]


def is_ready(full_stack):
    return ask(full_stack.port, path="/readyz") == 200


def lost(full_stack, load):
    """Return the acknowledged notes that are not in the database."""
    titles = set(full_stack.sql("SELECT title FROM notes"))
    return [note["title"] for note in load.acknowledged if note["title"] not in titles]


@dataclass
class Seen:
    """What clients saw while a service failed for four seconds."""

    load: Load
    broken: float  # when
    returning: float
    mended: float

    def answers(self, kind):
        """Return the responses to one kind of request."""
        return self.load.answers[kind]

    def before(self, kind):
        return self.answers(kind).between(0, self.broken - 0.5)

    def middle(self, kind):
        """Return the responses except the first and the last ones, which may see both states."""
        return self.answers(kind).between(self.broken + 1.5, self.returning - 0.5)

    @property
    def recovery(self):
        """Return the seconds from the repair until requests succeed again."""
        kinds = ("readyz", "list", "note")
        return max(self.answers(kind).good_since(self.mended) for kind in kinds)


def break_down(full_stack, service, fault):
    wait_for(lambda: is_ready(full_stack), 60)
    before = identity(full_stack)
    hurt, mend = FAULTS[fault]

    with Load(full_stack.port, everything()) as load:
        time.sleep(1)
        hurt(full_stack, service)
        broken = time.monotonic()
        time.sleep(4)
        returning = time.monotonic()
        mend(full_stack, service)
        seen = Seen(load, broken, returning, time.monotonic())
        wait_for(lambda: seen.recovery < float("inf"), 60)
        time.sleep(1)

    missing = lost(full_stack, load)
    report(f"{service} {fault}: used again {seen.recovery:.1f} s after its return, lost "
           f"{len(missing)} of {len(load.acknowledged)} notes")  # fmt: skip
    for kind, answers in load.answers.items():
        report(f"    {kind}: {answers.between(broken, returning)}")
    assert missing == []
    assert identity(full_stack) == before
    return seen


@pytest.mark.parametrize("fault", [*WEEKLY, "cut-off"])
def test_without_postgres_only_requests_that_need_it_return_503(full_stack, fault):
    seen = break_down(full_stack, "postgres", fault)

    for kind in ("page", "livez"):
        assert set(seen.answers(kind).statuses) == {200}, kind
        assert seen.answers(kind).slowest <= 5, kind
    for kind in ("list", "note", "readyz"):
        assert set(seen.answers(kind).statuses) <= {200, 201, 503}, kind
        assert seen.answers(kind).slowest <= 10, kind
        assert fault == "killed" or set(seen.middle(kind).statuses) == {503}, kind
    assert seen.recovery <= 10


# Seconds: three commands of 0.3 on a busy machine. With the defaults of redis-py, one takes 14.
WITHOUT_REDIS = 3


@pytest.mark.parametrize("fault", [*WEEKLY, "cut-off", "hung"])
def test_without_redis_requests_succeed(full_stack, fault):
    seen = break_down(full_stack, "redis", fault)

    for kind in ("page", "livez", "list", "note"):
        assert set(seen.answers(kind).statuses) <= {200, 201}, kind
        assert seen.answers(kind).slowest <= WITHOUT_REDIS + seen.before(kind).slowest, kind
    assert set(seen.answers("readyz").statuses) <= {200, 503}
    assert seen.answers("readyz").slowest <= WITHOUT_REDIS + seen.before("readyz").slowest
    assert fault == "killed" or set(seen.middle("readyz").statuses) == {503}
    assert seen.recovery <= 10


@pytest.mark.parametrize("fault", ["stopped", "cut-off", "hung"])
def test_request_that_meets_a_broken_redis_logs_one_line_with_its_id(full_stack, fault):
    breaks, repairs = FAULTS[fault]
    breaks(full_stack, "redis")
    try:
        number = full_stack.get("/notes?page=7").getheader("X-Request-ID")
    finally:
        repairs(full_stack, "redis")
        wait_for(lambda: is_ready(full_stack), 60)

    logged = [json.loads(line) for line in full_stack.logs("web") if number in line]
    assert [(line["level"], line["request_id"]) for line in logged] == [
        ("WARNING", number),
        ("INFO", number),
    ]
    assert logged[0]["message"].startswith("the cache failed")
    assert "exc_info" not in logged[0]


def test_durations_in_the_log_of_nginx_are_milliseconds(full_stack):
    """Those of the service are, too: nginx waits for it, and as long for the client."""
    for path in ("/faults/sleep/0", "/faults/sleep/1"):
        number = full_stack.get(path).getheader("X-Request-ID")
        wait_for(lambda found=number: any(found in line for line in full_stack.logs("nginx")), 60)
        [edge], [service] = (
            [json.loads(line) for line in full_stack.logs(name) if number in line]
            for name in ("nginx", "web")
        )
        assert isinstance(edge["duration_ms"], int)
        assert service["duration_ms"] - 2 <= edge["duration_ms"] <= service["duration_ms"] + 900


def test_service_recovers_without_a_restart_after_postgres_hangs(full_stack):
    assert break_down(full_stack, "postgres", "hung").recovery <= 10


def test_service_starts_without_its_dependencies(full_stack):
    full_stack.compose("stop", "postgres", "redis")
    full_stack.compose("up", "--detach", "--force-recreate", "--no-deps", "--wait", "web")
    wait_for(lambda: ask(full_stack.port, path="/livez") == 200, 60)

    page, ready, notes = (full_stack.get(path) for path in ("/", "/readyz", "/notes"))
    full_stack.compose("start", "postgres", "redis")
    took = wait_for(lambda: is_ready(full_stack), 60)

    report(f"cold start: ready {took:.1f} s after the start of the others")
    assert (page.status, ready.status, notes.status) == (200, 503, 503)
    assert json.loads(ready.text)["checks"] == {"postgres": "failing", "redis": "failing"}
    assert notes.getheader("Retry-After") == "5"
    assert [line for line in full_stack.logs("web") if "is not ready" in line]
    assert full_stack.get("/notes").status == 200


def test_full_database_volume_fails_writes_and_recovers(engine, cookies_session):
    options = {"use_postgres": True, "use_redis": False, "use_nginx": False}
    with (
        temporary_stack(cookies_session, options, "small", 8186) as small,
        small_volume(small.project, "postgres", "postgres18", 160),
    ):
        small.up()
        fill_and_make_room(small)


def fill_and_make_room(small):
    ballast = "$PGDATA/ballast"
    before = identity(small)
    with Load(small.port, everything("x" * 5_000), threads=1) as load:
        time.sleep(1)
        small.inside("postgres", "sh", "-c", f"cat /dev/zero >{ballast}", check=False)
        full = time.monotonic()
        wait_for(lambda: 503 in load.answers["note"].between(full).statuses, 60)
        time.sleep(1)
        small.inside("postgres", "sh", "-c", f"rm {ballast}")
        emptied = time.monotonic()
        wait_for(lambda: load.answers["note"].good_since(emptied) < float("inf"), 60)
        time.sleep(2)

    during = {name: seen.between(full, emptied) for name, seen in load.answers.items()}
    report(f"volume full: {len(load.acknowledged)} notes acknowledged, recovered "
           f"{load.answers['note'].good_since(emptied):.1f} s after there was room")  # fmt: skip
    for name, seen in during.items():
        report(f"    {name}: {seen}")
    assert 503 in during["note"].statuses
    for name in ("page", "livez"):
        assert set(load.answers[name].statuses) == {200}
    assert set(load.statuses) <= {200, 201, 503}
    assert load.answers["note"].good_since(emptied) <= 10
    assert lost(small, load) == []
    assert identity(small) == before
    assert [line for line in small.logs("postgres") if "No space left on device" in line]


def test_requests_in_progress_complete_when_the_service_stops(either_stack):
    futures = slow_requests(either_stack, 6, 5)

    begun = time.monotonic()
    either_stack.compose("stop", "web")
    took = time.monotonic() - begun
    state = either_stack.containers()["web"]["State"]
    either_stack.compose("start", "web")
    wait_for(lambda: ask(either_stack.port, path="/livez") == 200, 60)

    report(f"stopped with six requests in progress: {results(futures)}, exit code "
           f"{state['ExitCode']} after {took:.1f} s")  # fmt: skip
    assert results(futures) == [200] * 6
    assert state["ExitCode"] == 0


def test_killed_worker_fails_only_its_own_requests(full_stack):
    before = identity(full_stack)
    futures = slow_requests(full_stack, 12, 3)

    with Load(full_stack.port, {"page": everything()["page"]}) as load:
        time.sleep(0.5)
        full_stack.inside("web", "sh", "-c", f"kill -9 {workers(full_stack)[0]}")
        time.sleep(3)

    statuses = results(futures)
    report(f"worker killed: slow requests {statuses}; the others: {load}")
    assert set(statuses) <= {200, 502}  # all are 502 if this worker had accepted all
    assert load.answers["page"].statuses[200]
    assert load.answers["page"].statuses[502] <= 2  # one for each thread
    assert load.statuses.keys() <= {200, 502}
    assert identity(full_stack) == before


def test_workers_are_replaced_without_failed_requests(full_stack):
    """One after the other, as with ``max_requests``, and all at once on SIGHUP."""
    replaced = set()

    with Load(full_stack.port, everything(), keep_alive=True) as load:
        for _ in range(3):
            both = workers(full_stack)
            replaced.update(both)
            full_stack.inside("web", "sh", "-c", f"kill -TERM {both[1]}")
            wait_for(lambda both=both: len(set(workers(full_stack)) - {both[1]}) == len(both), 60)
        replaced.update(workers(full_stack))
        full_stack.inside("web", "sh", "-c", "kill -HUP $(cat /proc/1/task/1/children)")
        time.sleep(4)

    replaced -= set(workers(full_stack))
    report(f"{len(replaced)} workers replaced: {load.outcome}; {load}")
    assert len(replaced) >= 4
    assert set(load.statuses) <= {200, 201}


def scale(full_stack, number):
    """Run ``number`` containers of web, and wait until nginx has resolved them, every 2 s."""
    if len(web_containers(full_stack)) != number:
        full_stack.compose("up", "--detach", "--wait", "--no-deps", f"--scale=web={number}", "web")
        time.sleep(3)


@pytest.mark.weekly
def test_hanging_container_does_not_block_the_other(full_stack):
    scale(full_stack, 2)
    clients = 8
    hung = max(full_stack.compose("ps", "--format={{.Name}}", "web").stdout.split())

    with Load(full_stack.port, {"page": everything()["page"]}, threads=clients) as load:
        time.sleep(1)
        begun = time.monotonic()
        full_stack.pause(hung)
        time.sleep(4)
        run("docker", "unpause", hung, cwd=full_stack.project)

    scale(full_stack, 1)  # a container that was paused is unhealthy, until it is checked again
    seconds = [took for _, took, _ in load.answers["page"].between(begun, begun + 4).seen]
    held = sum(took > 1 for took in seconds)
    report(f"one of two containers hangs: held {held} of {len(seconds)} requests; {load}")
    assert 0 < held < clients
    assert len(seconds) >= 100
    assert set(load.statuses) == {200}


def web_containers(full_stack):
    return full_stack.compose("ps", "--all", "--quiet", "web").stdout.split()


def test_nginx_has_servers_as_soon_as_it_has_started(full_stack):
    """It resolves names only then, and Caddy would pass its first requests to no server."""
    requests = {"page": lambda number: ("GET", "/livez", None)}
    with Load(full_stack.port, requests, threads=16) as load:
        for _ in range(6):
            full_stack.compose("restart", "nginx")
            time.sleep(0.5)

    report(f"nginx restarted: {load}")
    assert set(load.statuses) == {0, 200}  # while it restarts, nothing listens


def test_request_that_exceeds_memory_kills_only_one_worker(full_stack):
    before = identity(full_stack)

    with Load(full_stack.port, {"page": everything()["page"]}) as load:
        time.sleep(0.5)
        greedy = ask(full_stack.port, path="/faults/memory/600")
        time.sleep(2)

    report(f"600 MiB in a container of 512: {greedy}; the others: {load}")
    assert greedy in {500, 502, 504}  # 504: a container without memory does not accept connections
    statuses = load.answers["page"].statuses
    assert statuses[200] >= sum(statuses.values()) - 4  # at most the requests of the same worker
    assert identity(full_stack) == before


def test_full_tmp_fails_only_the_request_that_filled_it(full_stack):
    with Load(full_stack.port, everything(), threads=1) as load:
        filled = full_stack.get("/faults/disk/80")
        time.sleep(1)
        full_stack.inside("web", "rm", "/tmp/faults")

    report(f"80 MiB into a /tmp of 64: {filled.status}; the others: {load}")
    assert filled.status == 500
    assert "Traceback" not in filled.text
    assert set(load.statuses) <= {200, 201}


FILL = "for i = 1, 5000 do redis.call('set', KEYS[1] .. i, string.rep('x', 1000)) end"


@pytest.mark.weekly
def test_full_cache_deletes_what_is_used_least_and_serves(full_stack):
    """150 MB are written into 64 MB, 5 MB at a time: Redis deletes nothing during a script."""
    before = identity(full_stack)

    with Load(full_stack.port, everything()) as load:
        for number in range(30):
            full_stack.inside("redis", "redis-cli", "eval", FILL, "1", f"filler-{number}-")
        time.sleep(1)
    kept = [f"filler-{number}-5000" for number in (0, 29)]
    left = full_stack.inside("redis", "redis-cli", "mget", *kept).split()

    report(f"full cache: {load.outcome}; {load}")
    assert left == ["x" * 1000]
    assert {kind for kind, _, _ in load.failed} <= {"readyz"}  # Redis waits for the script
    assert identity(full_stack) == before
    assert [line for line in full_stack.logs("web") if "OOM" in line] == []


def test_number_of_processes_is_limited(full_stack):
    fork = "for i in $(seq 200); do sleep 3 & done"

    with Load(full_stack.port, everything(), threads=1) as load:
        time.sleep(0.5)
        forked = full_stack.inside("web", "sh", "-c", fork, check=False)
        time.sleep(4)

    report(f"200 forks: refused {'Cannot fork' in forked or 'unavailable' in forked}; {load}")
    assert "Cannot fork" in forked or "unavailable" in forked
    for name in ("page", "livez", "list", "note"):
        assert set(load.answers[name].statuses) <= {200, 201}


def test_busy_service_is_healthy(full_stack):
    # For 16 threads, 8 in each process: if one accepts all requests, the last one waits for 8 s
    futures = slow_requests(full_stack, 40, 2)
    begun = time.monotonic()
    health = full_stack.compose("exec", "-T", "web", "python", "bin/healthcheck", check=False)
    took = time.monotonic() - begun

    report(f"40 requests of 2 s for 16 threads: health check {took:.1f} s; "
           f"{results(futures).count(200)} answered 200")  # fmt: skip
    assert results(futures) == [200] * 40
    assert health.returncode == 0, health.stdout
    assert full_stack.containers()["web"]["State"]["Health"]["Status"] == "healthy"


def test_nginx_tells_people_and_programs_that_the_service_is_away(full_stack):
    """The page is styled by the policy that it comes with, and by nothing from the service."""
    full_stack.compose("stop", "web")
    try:
        page = full_stack.get("/notes", "POST", body={}, Accept="text/html,*/*;q=0.8")
        problem = full_stack.get("/", Accept="application/json")
    finally:
        full_stack.compose("start", "web")
        wait_for(lambda: ask(full_stack.port, path="/livez") == 200, 60)

    assert {page.status, problem.status} <= {502, 504}
    number = page.getheader("X-Request-ID")
    assert page.getheader("Content-Type") == "text/html; charset=utf-8"
    assert f"style-src 'nonce-{number}'" in page.getheader("Content-Security-Policy")
    assert f'<style nonce="{number}">' in page.text
    assert f"Error {page.status}, request {number}" in " ".join(page.text.split())
    assert "<!--#" not in page.text
    assert problem.getheader("Content-Type") == "application/problem+json"
    assert json.loads(problem.text)["status"] == problem.status
    assert {"type", "title", "detail"} <= json.loads(problem.text).keys()


class Elements(HTMLParser):
    """The elements of a page in their order, with their classes, from ``main`` on."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "main" or self.found:
            self.found.append((tag, dict(attrs).get("class"), dict(attrs).get("href")))


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("text/html,*/*;q=0.8", "text/html; charset=utf-8"), ("*/*", "application/problem+json")],
)
def test_nginx_says_that_a_body_is_too_large(full_stack, accept, kind):
    """The limit of the stack is 100 MB. The page has the elements of those of the service."""
    headers = {"Content-Length": "100000001", "Accept": accept}
    with socket.create_connection(("127.0.0.1", full_stack.port), timeout=10) as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        client.sendall(f"POST /notes HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        response = http.client.HTTPResponse(client)
        response.begin()
        text = response.read().decode()

    assert response.status == 413
    assert response.getheader("Content-Type") == kind
    if kind == "application/problem+json":
        assert json.loads(text)["status"] == 413
    else:
        assert Elements(text).found == Elements(full_stack.get("/none").text).found
