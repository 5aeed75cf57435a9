"""What clients see when a dependency fails, hangs or is full, and during deployments.

Each test puts load on the stack, breaks one service, repairs it, and prints what clients saw.
``DEPLOYMENTS=20`` runs each kind of deployment twenty times, and more kinds.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from conftest import ENVIRONMENT, change, run
from load import Load, ask
from stacks import report, trial, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("docker")]
DEPLOYMENTS = int(os.environ.get("DEPLOYMENTS", "1"))


def compose(command):
    return lambda lab, service: lab.compose(command, service)


def send(name):
    return lambda lab, service: lab.signal(service, name)


def network(verb):
    return lambda lab, service: lab.network(verb, service)


def pause(lab, service):
    lab.pause(lab.containers()[service]["Id"])


def restarted(lab, service):
    """Check that Docker has restarted the container."""
    assert lab.containers()[service]["RestartCount"] > 0


FAULTS = {
    "stopped": (compose("stop"), compose("start")),
    "killed": (send("KILL"), restarted),
    "cut-off": (network("disconnect"), network("connect")),
    "hung": (pause, compose("unpause")),
}

run_number = iter(range(1_000))


def everything(body=""):
    """Return requests of all kinds; each list is another page, which is not in the cache."""
    title = f"run {next(run_number)}"
    return {
        "page": lambda number: ("GET", "/", None),
        "livez": lambda number: ("GET", "/livez", None),
        "readyz": lambda number: ("GET", "/readyz", None),
        "list": lambda number: ("GET", f"/notes?page={number + 1}", None),
        "note": lambda number: ("POST", "/notes", {"title": f"{title}, {number}", "body": body}),
    }


def identity(lab):
    """Return values that change if the container of the service restarts."""
    web = lab.containers()["web"]
    return web["Id"], web["State"]["StartedAt"], web["RestartCount"]


def is_ready(lab):
    return ask(lab.port, path="/readyz") == 200


def lost(lab, load):
    """Return the acknowledged notes that are not in the database."""
    titles = set(lab.sql("SELECT title FROM notes"))
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


def break_down(lab, service, fault):
    wait_for(lambda: is_ready(lab), 20)
    before = identity(lab)
    hurt, mend = FAULTS[fault]

    with Load(lab.port, everything()) as load:
        time.sleep(1)
        hurt(lab, service)
        broken = time.monotonic()
        time.sleep(4)
        returning = time.monotonic()
        mend(lab, service)
        seen = Seen(load, broken, returning, time.monotonic())
        wait_for(lambda: seen.recovery < float("inf"), 20)
        time.sleep(1)

    missing = lost(lab, load)
    report(f"{service} {fault}: used again {seen.recovery:.1f} s after its return, lost "
           f"{len(missing)} of {len(load.acknowledged)} notes")  # fmt: skip
    for kind, answers in load.answers.items():
        report(f"    {kind}: {answers.between(broken, returning)}")
    assert missing == []
    assert identity(lab) == before
    return seen


@pytest.mark.parametrize("fault", ["stopped", "killed", "cut-off"])
def test_without_postgres_only_requests_that_need_it_return_503(lab, fault):
    seen = break_down(lab, "postgres", fault)

    for kind in ("page", "livez"):
        assert set(seen.answers(kind).statuses) == {200}, kind
        assert seen.answers(kind).slowest <= 1, kind
    for kind in ("list", "note", "readyz"):
        assert set(seen.answers(kind).statuses) <= {200, 201, 503}, kind
        assert seen.answers(kind).slowest <= 5, kind
        assert fault == "killed" or set(seen.middle(kind).statuses) == {503}, kind
    assert seen.recovery <= 3


@pytest.mark.parametrize("fault", FAULTS)
def test_without_redis_requests_succeed(lab, fault):
    seen = break_down(lab, "redis", fault)

    for kind in ("page", "livez", "list", "note"):
        assert set(seen.answers(kind).statuses) <= {200, 201}, kind
        assert seen.answers(kind).slowest <= 1 + seen.before(kind).slowest, kind
    assert set(seen.answers("readyz").statuses) <= {200, 503}
    assert seen.answers("readyz").slowest <= 1 + seen.before("readyz").slowest
    assert fault == "killed" or set(seen.middle("readyz").statuses) == {503}
    assert seen.recovery <= 3


def test_service_recovers_without_a_restart_after_postgres_hangs(lab):
    assert break_down(lab, "postgres", "hung").recovery <= 10


def test_service_starts_without_its_dependencies(lab):
    lab.compose("stop", "postgres", "redis")
    lab.compose("up", "--detach", "--force-recreate", "--no-deps", "--wait", "web")
    wait_for(lambda: ask(lab.port, path="/livez") == 200, 10)

    page, ready, notes = (lab.get(path) for path in ("/", "/readyz", "/notes"))
    lab.compose("start", "postgres", "redis")
    took = wait_for(lambda: is_ready(lab), 10)

    report(f"cold start: ready {took:.1f} s after the start of the others")
    assert (page.status, ready.status, notes.status) == (200, 503, 503)
    assert json.loads(ready.text)["checks"] == {"postgres": "failing", "redis": "failing"}
    assert notes.getheader("Retry-After") == "5"
    assert [line for line in lab.logs("web") if "is not ready" in line]
    assert lab.get("/notes").status == 200


def test_full_database_volume_fails_writes_and_recovers(engine, cookies_session):
    """The volume is a small file system in memory, which a second container keeps mounted."""
    options = {"use_postgres": True, "use_redis": False, "use_nginx": False}
    with trial(cookies_session, options, "small", 8186) as small:
        volume, holder = f"{small.name}_postgres18", f"{small.name}-holder"
        tmpfs = ["--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=160m"]
        image = small.compose("config", "--images", "postgres").stdout.split()[0]
        keep = ["--entrypoint=sleep", f"--volume={volume}:/kept", image, "300"]
        run("docker", "rm", "--force", holder, cwd=small.project, check=False)
        run("docker", "volume", "rm", volume, cwd=small.project, check=False)
        run("docker", "volume", "create", *tmpfs, volume, cwd=small.project)
        run("docker", "run", "--detach", "--rm", f"--name={holder}", *keep, cwd=small.project)
        try:
            small.up()
            fill_and_make_room(small)
        finally:
            run("docker", "rm", "--force", holder, cwd=small.project)


def fill_and_make_room(small):
    ballast = "$PGDATA/ballast"
    before = identity(small)
    with Load(small.port, everything("x" * 5_000), threads=1) as load:
        time.sleep(1)
        small.inside("postgres", "sh", "-c", f"cat /dev/zero >{ballast}", check=False)
        full = time.monotonic()
        wait_for(lambda: 503 in load.answers["note"].between(full).statuses, 20)
        time.sleep(1)
        small.inside("postgres", "sh", "-c", f"rm {ballast}")
        emptied = time.monotonic()
        wait_for(lambda: load.answers["note"].good_since(emptied) < float("inf"), 20)
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


def slow_requests(door, number, seconds):
    """Start ``number`` requests that take ``seconds``, and return futures of their statuses."""
    pool = ThreadPoolExecutor(number)
    futures = [
        pool.submit(ask, door.port, path=f"/faults/sleep/{seconds}", timeout=60)
        for _ in range(number)
    ]
    time.sleep(1)
    return futures


def results(futures):
    return sorted(future.result() for future in futures)


def test_requests_in_progress_complete_when_the_service_stops(door):
    futures = slow_requests(door, 6, 5)

    begun = time.monotonic()
    door.compose("stop", "web")
    took = time.monotonic() - begun
    state = door.containers()["web"]["State"]
    door.compose("start", "web")
    wait_for(lambda: ask(door.port, path="/livez") == 200, 10)

    report(f"stopped with six requests in progress: {results(futures)}, exit code "
           f"{state['ExitCode']} after {took:.1f} s")  # fmt: skip
    assert results(futures) == [200] * 6
    assert state["ExitCode"] == 0


def workers(door):
    """Return the workers: the children of the only child of docker-init."""
    look = "m=$(cat /proc/1/task/1/children); m=${m% }; cat /proc/$m/task/$m/children"
    return [int(pid) for pid in door.inside("web", "sh", "-c", look).split()]


def test_killed_worker_fails_only_its_own_requests(lab):
    before = identity(lab)
    futures = slow_requests(lab, 6, 3)

    with Load(lab.port, {"page": everything()["page"]}) as load:
        time.sleep(0.5)
        lab.inside("web", "sh", "-c", f"kill -9 {workers(lab)[0]}")
        time.sleep(3)

    statuses = results(futures)
    report(f"worker killed: six slow requests {statuses}; the others: {load}")
    assert set(statuses) <= {200, 502}
    assert 200 in statuses
    assert load.answers["page"].statuses[502] <= 2  # one for each thread
    assert load.statuses.keys() <= {200, 502}
    assert identity(lab) == before


def test_workers_are_replaced_without_failed_requests(lab):
    """One after the other, as with ``max_requests``, and all at once on SIGHUP."""
    replaced = set()

    with Load(lab.port, everything(), keep_alive=True) as load:
        for _ in range(3):
            both = workers(lab)
            replaced.update(both)
            lab.inside("web", "sh", "-c", f"kill -TERM {both[1]}")
            wait_for(lambda both=both: len(set(workers(lab)) - {both[1]}) == len(both), 20)
        replaced.update(workers(lab))
        lab.inside("web", "sh", "-c", "kill -HUP $(cat /proc/1/task/1/children)")
        time.sleep(4)

    replaced -= set(workers(lab))
    report(f"{len(replaced)} workers replaced: {load.outcome}; {load}")
    assert len(replaced) >= 4
    assert set(load.statuses) <= {200, 201}


def scale(lab, number):
    """Run ``number`` containers of web, and wait until nginx has resolved them, every 2 s."""
    if len(web_containers(lab)) != number:
        lab.compose("up", "--detach", "--wait", "--no-deps", f"--scale=web={number}", "web")
        time.sleep(3)


def test_hanging_container_does_not_block_the_other(lab):
    scale(lab, 2)
    clients = 8
    hung = max(lab.compose("ps", "--format={{.Name}}", "web").stdout.split())

    with Load(lab.port, {"page": everything()["page"]}, threads=clients) as load:
        time.sleep(1)
        begun = time.monotonic()
        lab.pause(hung)
        time.sleep(4)
        run("docker", "unpause", hung, cwd=lab.project)

    scale(lab, 1)  # a container that was paused is unhealthy, until it is checked again
    seconds = [took for _, took, _ in load.answers["page"].between(begun, begun + 4).seen]
    held = sum(took > 1 for took in seconds)
    report(f"one of two containers hangs: held {held} of {len(seconds)} requests; {load}")
    assert 0 < held < clients
    assert len(seconds) >= 100
    assert set(load.statuses) == {200}


version_number = itertools.count(1)


def new_version(lab, start_seconds=0):
    """Change the code of the service, and the time that it takes to start."""
    number = next(version_number)
    file = lab.project / lab.project.name / "faults.py"
    text = re.sub(r"(?m)^VERSION = \d+", f"VERSION = {number}", file.read_text())
    file.write_text(re.sub(r"(?m)^START_SECONDS = \d+", f"START_SECONDS = {start_seconds}", text))
    return number


def web_containers(lab):
    return lab.compose("ps", "--all", "--quiet", "web").stdout.split()


KINDS = [(2, 30, 10), (1, 5, 0), (1, 200, 0)]  # the interrupted deployment tests (1, 30, 0)
if DEPLOYMENTS > 1:
    KINDS = list(itertools.product([2, 1], [5, 30, 200], [0, 10]))


@pytest.mark.parametrize(("replicas", "rate", "start_seconds"), KINDS)
def test_deployment_fails_no_request(lab, replicas, rate, start_seconds):
    """Half of the clients keep their connections open, and a fifth of the requests are POSTs."""
    outcomes = []
    scale(lab, replicas)
    threads = max(1, rate // 30)  # each client sends a request every second, or more often
    for _ in range(DEPLOYMENTS):
        old, number = set(web_containers(lab)), new_version(lab, start_seconds)
        load = Load(lab.port, everything(), threads, rate, keep_alive=True)

        with ThreadPoolExecutor() as pool, load:
            deployment = pool.submit(run, "make", "deploy", cwd=lab.project)
            wait_for(lambda d=deployment, old=old: d.done() or set(web_containers(lab)) - old, 120)
            slow = slow_requests(lab, 2, start_seconds + 6)  # until nginx uses the new containers
            deployed = deployment.result().stdout
            took = time.monotonic() - load.begun
            versions = {json.loads(lab.get("/faults/version").text)["version"] for _ in range(8)}
            time.sleep(1)

        new = set(web_containers(lab))
        outcomes.append(f"{load.outcome}, in {took:.0f} s")
        assert versions == {number}
        assert len(new) == replicas
        assert not new & old
        assert f"http://127.0.0.1:{lab.port}" in deployed.splitlines()[-1]
        assert load.statuses.total() >= rate * took / 2
        assert load.failed == [], outcomes
        assert results(slow) == [200, 200]

    report(f"deployment at {rate} requests/s, replicas: {replicas}, start: {start_seconds} s: "
           f"{'; '.join(outcomes)}")  # fmt: skip


def break_migration(project):
    """Add a migration that creates a table that exists."""
    first = project / project.name / "migrations/0001_create_notes.py"
    text = first.read_text().replace('revision = "0001"', 'revision = "0002"', 1)
    text = re.sub("^branch_labels.*", "branch_labels = None", text, flags=re.M)
    bad = first.with_name("0002_again.py")
    bad.write_text(text.replace("down_revision = None", 'down_revision = "0001"'))


def break_server(project):
    """Add an error that appears only when ``web`` starts, after the migrations."""
    server = project / "config/gunicorn.py"
    server.write_text(server.read_text() + "\nimport no_such_module  # noqa\n")


def fill_disk(project):
    """No space is left on the device while the image is built."""
    dockerfile = project / "Dockerfile"
    before, user, after = dockerfile.read_text().rpartition("USER 10001:10001")
    fill = "RUN --mount=type=tmpfs,target=/full,size=1m head -c 9m /dev/zero > /full/file\n"
    dockerfile.write_text(before + fill + user + after)


def break_nginx(project):
    change(project / "nginx/nginx.conf.template", "gzip on;", "gzip onn;")


@contextmanager
def unchanged(project):
    """Restore the files of a project after the block."""
    files = {p: p.read_bytes() for p in project.rglob("*") if p.is_file() and ".git" not in p.parts}
    try:
        yield
    finally:
        for path in project.rglob("*.py"):
            if path not in files:
                path.unlink()
        for path, content in files.items():
            path.write_bytes(content)


def deploy_under_load(door, mistake):
    """Return the last output of a failed deployment, and check that no request failed."""
    scale(door, 1)
    before, containers = identity(door), web_containers(door)
    with unchanged(door.project):
        mistake(door.project)
        with Load(door.port, everything(), 4, 150, keep_alive=True) as load:
            deployed = run("make", "deploy", cwd=door.project, check=False)
            time.sleep(1)
    door.compose("build")

    report(f"deployment with {mistake.__name__}: exit code {deployed.returncode}; {load.outcome}")
    assert deployed.returncode != 0
    assert identity(door) == before
    assert web_containers(door) == containers
    assert load.failed == []
    return "\n".join(deployed.stdout.splitlines()[-25:])


def test_failed_migration_keeps_the_old_version_running(door):
    assert 'relation "notes" already exists' in deploy_under_load(door, break_migration)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (break_server, "No module named 'no_such_module'"),
        (fill_disk, '/dev/zero > /full/file" did not complete successfully'),
        (break_nginx, 'invalid value "onn" in "gzip" directive'),
    ],
)
def test_failed_deployment_prints_the_cause_and_keeps_the_old_version(lab, mistake, message):
    assert message in deploy_under_load(lab, mistake)


def test_interrupted_deployment_can_be_repeated(lab):
    """Interrupt while the new container starts, and while the old nginx workers exit."""
    scale(lab, 1)
    old = web_containers(lab)

    def servers():
        return lab.inside("nginx", "cat", "/tmp/servers.conf")

    with Load(lab.port, everything(), rate=30, keep_alive=True) as load:
        new_version(lab, start_seconds=10)
        interrupt(lab, lambda: len(web_containers(lab)) == 2)
        after_the_first = web_containers(lab)
        new_version(lab)
        held = slow_requests(lab, 2, 20)
        interrupt(lab, lambda: "resolve" not in servers())
        last = new_version(lab)
        run("make", "deploy", "replicas=1", cwd=lab.project)
        time.sleep(1)

    report(f"deployments interrupted: {load.outcome}")
    assert after_the_first == old
    assert json.loads(lab.get("/faults/version").text)["version"] == last
    assert len(web_containers(lab)) == 1
    assert load.failed == []
    assert results(held) == [200, 200]


def test_nginx_has_servers_as_soon_as_it_has_started(lab):
    """It resolves names only then, and Caddy would pass its first requests to no server."""
    requests = {"page": lambda number: ("GET", "/livez", None)}
    with Load(lab.port, requests, threads=16) as load:
        for _ in range(6):
            lab.compose("restart", "nginx")
            time.sleep(0.5)

    report(f"nginx restarted: {load}")
    assert set(load.statuses) == {0, 200}  # while it restarts, nothing listens


def interrupt(lab, moment):
    """Start a deployment, and press Ctrl-C when ``moment`` returns true."""
    with subprocess.Popen(
        ["make", "deploy"],
        cwd=lab.project,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as deployment:
        wait_for(moment, 60)
        os.killpg(deployment.pid, signal.SIGINT)
    assert deployment.returncode != 0


def test_request_that_exceeds_memory_kills_only_one_worker(lab):
    before = identity(lab)

    with Load(lab.port, {"page": everything()["page"]}) as load:
        time.sleep(0.5)
        greedy = ask(lab.port, path="/faults/memory/600")
        time.sleep(2)

    report(f"600 MiB in a container of 512: {greedy}; the others: {load}")
    assert greedy in {500, 502, 504}  # 504: a container without memory does not accept connections
    statuses = load.answers["page"].statuses
    assert statuses[200] >= sum(statuses.values()) - 4  # at most the requests of the same worker
    assert identity(lab) == before


def test_full_tmp_fails_only_the_request_that_filled_it(lab):
    with Load(lab.port, everything(), threads=1) as load:
        filled = lab.get("/faults/disk/80")
        time.sleep(1)
        lab.inside("web", "rm", "/tmp/faults")

    report(f"80 MiB into a /tmp of 64: {filled.status}; the others: {load}")
    assert filled.status == 500
    assert "Traceback" not in filled.text
    assert set(load.statuses) <= {200, 201}


def test_number_of_processes_is_limited(lab):
    fork = "for i in $(seq 200); do sleep 3 & done"

    with Load(lab.port, everything(), threads=1) as load:
        time.sleep(0.5)
        forked = lab.inside("web", "sh", "-c", fork, check=False)
        time.sleep(4)

    report(f"200 forks: refused {'Cannot fork' in forked or 'unavailable' in forked}; {load}")
    assert "Cannot fork" in forked or "unavailable" in forked
    for name in ("page", "livez", "list", "note"):
        assert set(load.answers[name].statuses) <= {200, 201}


def test_busy_service_is_healthy(lab):
    # For 16 threads, 8 in each process: if one accepts all requests, the last one waits for 8 s
    futures = slow_requests(lab, 40, 2)
    begun = time.monotonic()
    health = lab.compose("exec", "-T", "web", "python", "bin/healthcheck", check=False)
    took = time.monotonic() - begun

    report(f"40 requests of 2 s for 16 threads: health check {took:.1f} s; "
           f"{results(futures).count(200)} answered 200")  # fmt: skip
    assert results(futures) == [200] * 40
    assert health.returncode == 0, health.stdout
    assert lab.containers()["web"]["State"]["Health"]["Status"] == "healthy"
