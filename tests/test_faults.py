"""What happens to a service when something that it needs fails, hangs or is full.

Each test puts load on the whole stack, breaks one thing, mends it, and prints what clients saw.
"""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import run
from load import Load, ask
from stacks import Stack, free_containers, generate, report, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("docker")]


def stop(lab, service):
    lab.compose("stop", service)


def start(lab, service):
    lab.compose("start", service)


def pause(lab, service):
    lab.compose("pause", service)


def unpause(lab, service):
    lab.compose("unpause", service)


def kill(lab, service):
    """What the container runs, which is the only child of docker-init."""
    command = "kill -9 $(cat /proc/1/task/1/children)"
    lab.inside(service, "sh", "-c", command, check=False)  # the shell may end with the container


def restarted(lab, service):
    """Docker starts by itself what died."""
    assert lab.containers()[service]["RestartCount"] > 0


def disconnect(lab, service):
    container = lab.containers()[service]["Id"]
    run("docker", "network", "disconnect", f"{lab.name}_data", container, cwd=lab.project)


def reconnect(lab, service):
    container = lab.containers()[service]["Id"]
    run(
        "docker",
        "network",
        "connect",
        "--alias",
        service,
        f"{lab.name}_data",
        container,
        cwd=lab.project,
    )


FAULTS = {
    "stopped": (stop, start),
    "hung": (pause, unpause),
    "killed": (kill, restarted),
    "cut-off": (disconnect, reconnect),
}

run_number = iter(range(1_000))


def everything():
    """Requests of all kinds; each list is another page, which no cache holds."""
    title = f"run {next(run_number)}"
    return {
        "page": lambda number: ("GET", "/", None),
        "livez": lambda number: ("GET", "/livez", None),
        "readyz": lambda number: ("GET", "/readyz", None),
        "list": lambda number: ("GET", f"/notes?page={number + 1}", None),
        "note": lambda number: ("POST", "/notes", {"title": f"{title}, {number}"}),
    }


def identity(lab):
    """What changes when the container of the service is restarted."""
    web = lab.containers()["web"]
    return web["Id"], web["State"]["StartedAt"], web["RestartCount"]


def is_ready(lab):
    return ask(lab.port, path="/readyz") == 200


def lost(lab, load):
    """The acknowledged notes that are not in the database."""
    titles = set(lab.sql("SELECT title FROM notes"))
    return [note["title"] for note in load.acknowledged if note["title"] not in titles]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("service", ["postgres", "redis"])
def test_service_outlives_what_it_needs(lab, service, fault):
    wait_for(lambda: is_ready(lab), 20)
    before = identity(lab)
    hurt, mend = FAULTS[fault]

    with Load(lab.port, everything()) as load:
        time.sleep(2)
        hurt(lab, service)
        broken = time.monotonic()
        time.sleep(6)
        returning = time.monotonic()
        mend(lab, service)
        mended = time.monotonic()
        time.sleep(10)

    during = {name: seen.between(broken, returning) for name, seen in load.answers.items()}
    recovery = max(load.answers[name].good_since(mended) for name in ("readyz", "list", "note"))
    missing = lost(lab, load)
    report(f"{service} {fault}: recovered {recovery:.1f} s after its return, lost {len(missing)} "
           f"of {len(load.acknowledged)} notes")  # fmt: skip
    for name, seen in during.items():
        report(f"    {name}: {seen}")

    limit = 4 if service == "postgres" else 1
    for name in ("page", "livez", "list", "note"):
        assert load.answers[name].slowest <= limit, name
    for name in ("page", "livez"):
        assert set(load.answers[name].statuses) == {200}
        assert during[name].median < 0.1
    if fault != "killed":
        middle = during["readyz"].between(broken + 2, returning - 2).seen
        assert middle
        assert [
            (sent - broken, took, status) for sent, took, status in middle if status != 503
        ] == []
    assert during["readyz"].slowest <= 2
    needing = {200, 201, 503} if service == "postgres" else {200, 201}
    assert {*load.answers["list"].statuses, *load.answers["note"].statuses} <= needing
    assert recovery <= 2
    assert missing == []
    assert identity(lab) == before


def test_service_starts_without_what_it_needs(lab):
    lab.compose("stop", "postgres", "redis")
    lab.compose("up", "--detach", "--force-recreate", "--no-deps", "--wait", "web")
    wait_for(lambda: ask(lab.port, path="/livez") == 200, 10)

    page, ready, notes = (lab.get(path) for path in ("/", "/readyz", "/notes"))
    lab.compose("start", "postgres", "redis")
    took = wait_for(lambda: is_ready(lab), 10)

    report(f"cold start: ready {took:.1f} s after the start of the others")
    assert (page.status, ready.status, notes.status) == (200, 503, 503)
    assert json.loads(ready.text)["checks"] == {"postgres": "failing", "redis": "failing"}
    reasons = [line for line in lab.logs("web") if "is not ready" in line]
    assert reasons
    assert lab.get("/notes").status == 200


def test_two_migration_jobs_at_once_make_one_upgrade(lab):
    job = ["run", "--rm", "--no-TTY", "migrate"]
    lab.compose(*job, "flask", "downgrade", "base")

    with ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda _: lab.compose(*job).stdout, range(2)))

    upgrades = "".join(outputs).count("Running upgrade")
    report(f"two migration jobs at once: {upgrades} upgrade")
    assert upgrades == 1
    assert lab.get("/notes").status == 200


def test_database_without_room_refuses_writes_and_goes_on(engine, cookies_session):
    """Its volume is a small file system in memory, which a second container keeps mounted."""
    options = {"use_postgres": True, "use_redis": False, "use_nginx": False}
    project = generate(cookies_session, options, "small", 8186)
    small = Stack(project, options, 8186)
    volume, holder = f"{small.name}_postgres18", f"{small.name}-holder"
    tmpfs = ["--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=160m"]
    run("docker", "rm", "--force", holder, cwd=project, check=False)
    run("docker", "volume", "rm", volume, cwd=project, check=False)
    run("docker", "volume", "create", *tmpfs, volume, cwd=project)
    small.compose("build")
    keep = ["--entrypoint=sleep", f"--volume={volume}:/kept", f"{small.name}-postgres", "300"]
    run("docker", "run", "--detach", "--rm", f"--name={holder}", *keep, cwd=project)
    try:
        small.compose("up", "--detach", "--wait")
        fill_and_make_room(small)
    finally:
        run("docker", "rm", "--force", holder, cwd=project)
        free_containers(project)


def fill_and_make_room(small):
    ballast = "$PGDATA/ballast"
    before = identity(small)
    with Load(small.port, everything(), threads=1) as load:
        time.sleep(1)
        small.inside("postgres", "sh", "-c", f"cat /dev/zero >{ballast}", check=False)
        full = time.monotonic()
        time.sleep(6)
        small.inside("postgres", "sh", "-c", f"rm {ballast}")
        emptied = time.monotonic()
        time.sleep(10)

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
    """As many requests that take as long, already in progress; their statuses come later."""
    pool = ThreadPoolExecutor(number)
    futures = [
        pool.submit(ask, door.port, path=f"/faults/sleep/{seconds}", timeout=60)
        for _ in range(number)
    ]
    time.sleep(1)
    return futures


def results(futures):
    return sorted(future.result() for future in futures)


def test_requests_in_progress_are_answered_when_the_service_stops(door):
    futures = slow_requests(door, 6, 6)

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
    """The children of the only child of docker-init."""
    look = "m=$(cat /proc/1/task/1/children); m=${m% }; cat /proc/$m/task/$m/children"
    return [int(pid) for pid in door.inside("web", "sh", "-c", look).split()]


def test_worker_that_is_killed_takes_its_own_requests_only(lab):
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
    assert load.answers["page"].statuses[502] <= 4  # one for each of its threads that ask
    assert identity(lab) == before


def test_workers_are_replaced_without_a_failed_request(lab):
    """As gunicorn does by itself with ``max_requests``, and all at once on SIGHUP."""
    replaced = set()

    with Load(lab.port, everything()) as load:
        for _ in range(6):
            both = workers(lab)
            replaced.update(both)
            lab.inside("web", "sh", "-c", f"kill -TERM {both[1]}")
            wait_for(lambda both=both: len(set(workers(lab)) - {both[1]}) == len(both), 20)
        replaced.update(workers(lab))
        lab.inside("web", "sh", "-c", "kill -HUP $(cat /proc/1/task/1/children)")
        time.sleep(4)

    replaced -= set(workers(lab))
    report(f"{len(replaced)} workers replaced: {load}")
    assert len(replaced) >= 7
    assert set(load.statuses) <= {200, 201}


def test_container_that_hangs_does_not_hold_up_the_other(lab):
    lab.compose("up", "--detach", "--wait", "--no-deps", "--scale=web=2", "web")
    clients = 8
    hung = max(lab.compose("ps", "--format={{.Name}}", "web").stdout.split())

    with Load(lab.port, {"page": everything()["page"]}, threads=clients) as load:
        time.sleep(1)
        begun = time.monotonic()
        run("docker", "pause", hung, cwd=lab.project)
        time.sleep(4)
        run("docker", "unpause", hung, cwd=lab.project)

    lab.compose("up", "--detach", "--wait", "--no-deps", "--scale=web=1", "web")
    seconds = [took for _, took, _ in load.answers["page"].between(begun, begun + 4).seen]
    held = sum(took > 1 for took in seconds)
    report(f"one of two containers hangs: held {held} of {len(seconds)} requests; {load}")
    assert held < clients
    assert len(seconds) >= 100
    assert set(load.statuses) == {200}


def test_new_version_replaces_the_old_one_without_a_failed_request(lab):
    lab.compose("up", "--detach", "--wait", "--no-deps", "--scale=web=2", "web")
    old = set(lab.compose("ps", "--quiet", "web").stdout.split())

    with Load(lab.port, everything(), threads=3, pause=0.01) as load:
        time.sleep(1)
        run("make", "deploy", cwd=lab.project)
        time.sleep(2)

    new = set(lab.compose("ps", "--quiet", "web").stdout.split())
    lab.compose("up", "--detach", "--wait", "--no-deps", "--scale=web=1", "web")
    report(f"new version, two replicas: {load.outcome}; {load}")
    assert len(new) == 2
    assert not new & old
    assert load.statuses.total() >= 2_000
    assert set(load.statuses) <= {200, 201}


def add_bad_migration(package):
    """Create a table that is there already."""
    first = package / "database/migrations/versions/0001_create_notes.py"
    text = first.read_text().replace('revision = "0001"', 'revision = "0002"')
    bad = first.with_name("0002_again.py")
    bad.write_text(text.replace("down_revision = None", 'down_revision = "0001"'))
    return bad


def break_server(package):
    """A mistake that shows only when ``web`` starts, after the migrations."""
    file = package.parent / "config/bad.py"
    file.write_text("import no_such_module\n")
    server = package.parent / "config/gunicorn.py"
    server.write_text(server.read_text() + "\nimport config.bad  # noqa\n")
    return file


def deploy_under_load(door, make_bad):
    """The exit code of a deployment, what it printed, and what clients saw meanwhile."""
    server = door.project / "config/gunicorn.py"
    text = server.read_text()
    bad = make_bad(door.project / door.project.name)
    before = identity(door)
    try:
        with Load(door.port, everything(), threads=1) as load:
            deployed = run("make", "deploy", cwd=door.project, check=False)
    finally:
        bad.unlink()
        server.write_text(text)
        door.compose("build")

    report(f"deployment with {bad.name}: exit code {deployed.returncode}; {load.outcome}; {load}")
    assert deployed.returncode != 0
    assert identity(door) == before
    assert set(load.statuses) <= {200, 201}
    return deployed.stdout


def test_migration_that_fails_leaves_the_old_version_in_place(door):
    assert "already exists" in deploy_under_load(door, add_bad_migration)


def test_version_that_does_not_start_leaves_the_old_one_in_place(lab):
    containers = lab.compose("ps", "--all", "--quiet", "web").stdout

    printed = deploy_under_load(lab, break_server)

    assert re.search(rf"container {lab.name}-web-\d+ (is unhealthy|exited)", printed), printed
    assert "No module named 'no_such_module'" in printed
    assert lab.compose("ps", "--all", "--quiet", "web").stdout == containers


def test_request_that_needs_too_much_memory_takes_nobody_with_it(lab):
    before = identity(lab)

    with Load(lab.port, {"page": everything()["page"]}) as load:
        time.sleep(0.5)
        greedy = ask(lab.port, path="/faults/memory/600")
        time.sleep(2)

    report(f"600 MiB in a container of 512: {greedy}; the others: {load}")
    assert greedy in {500, 502, 504}  # 504: a container without memory does not accept either
    statuses = load.answers["page"].statuses
    assert statuses[200] >= sum(statuses.values()) - 4  # at most what the same worker had
    assert identity(lab) == before


def test_full_temporary_file_system_fails_the_request_that_filled_it(lab):
    with Load(lab.port, everything(), threads=1) as load:
        filled = lab.get("/faults/disk/80")
        time.sleep(1)
        lab.inside("web", "rm", "/tmp/faults")

    report(f"80 MiB into a /tmp of 64: {filled.status}; the others: {load}")
    assert filled.status == 500
    assert "Traceback" not in filled.text
    assert set(load.statuses) <= {200, 201}


def test_endless_forking_stays_in_its_container(lab):
    fork = "for i in $(seq 200); do sleep 3 & done"

    with Load(lab.port, everything(), threads=1) as load:
        time.sleep(0.5)
        forked = lab.inside("web", "sh", "-c", fork, check=False)
        time.sleep(4)

    report(f"200 forks: refused {'Cannot fork' in forked or 'unavailable' in forked}; {load}")
    assert "Cannot fork" in forked or "unavailable" in forked
    for name in ("page", "livez", "list", "note"):
        assert set(load.answers[name].statuses) <= {200, 201}


def timed(lab, path, timeout=20):
    begun = time.monotonic()
    return ask(lab.port, path=path, timeout=timeout), round(time.monotonic() - begun, 2)


def test_busy_service_is_healthy(lab):
    futures = slow_requests(lab, 40, 4)  # for 16 threads: the last ones wait for eight seconds
    probes = [timed(lab, path) for path in ("/livez", "/readyz")]

    begun = time.monotonic()
    lab.inside("web", "python", "-m", "config.healthcheck")
    took = time.monotonic() - begun

    report(f"40 requests of 4 s for 16 threads: probes {probes}, health check {took:.1f} s; "
           f"{results(futures).count(200)} answered 200")  # fmt: skip
    assert results(futures) == [200] * 40
    assert lab.containers()["web"]["State"]["Health"]["Status"] == "healthy"
    assert [(status, seconds < 1) for status, seconds in probes] == [(200, True)] * 2


def test_request_that_takes_too_long_is_answered_by_nginx(lab):
    status, took = timed(lab, "/faults/sleep/64", timeout=70)

    report(f"request of 64 s: {status} after {took} s")
    assert status == 504
    assert 59 < took < 62
    assert lab.containers()["web"]["State"]["Health"]["Status"] == "healthy"


def test_flood_of_log_lines_is_cut(lab):
    assert ask(lab.port, path="/faults/log/120000", timeout=60) == 200

    container = lab.containers()["web"]
    assert container["HostConfig"]["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    kept = Path(container["LogPath"]).parent
    if not kept.is_dir():
        pytest.skip("the engine keeps its logs where this process cannot look")
    size = sum(file.stat().st_size for file in kept.glob("*.log*"))
    report(f"120 000 lines of 300 bytes: {size / 1e6:.0f} MB kept")
    assert 10e6 < size < 32e6
