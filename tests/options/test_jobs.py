"""Background jobs while a worker, the queue or the schedule fails."""

import itertools
import json
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from figures import report
from projects import FULL, WHOLE, change, run
from stacks import SLUG, small_volume, stack_with, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("jobs")]
JOBS = 1_000 if WHOLE else 200


@pytest.fixture(scope="module")
def jobs(engine, cookies_session):
    """Start the production stack with a worker, and with the tasks of jobs.py."""
    options = FULL | {"use_worker": True}
    with stack_with(cookies_session, options, "jobs", 8241, module="jobs") as stack:
        yield stack


def enqueue(jobs, task, name, **arguments):
    """Return the status of a request that enqueues a job."""
    return jobs.get(f"/jobs/{task}/{name}", "POST", arguments or None, timeout=30).status


def runs(jobs):
    """Return how often each job ran, by name."""
    return Counter(json.loads(jobs.get("/jobs/runs").text))


def hang(jobs):
    jobs.pause(jobs.containers()["queue"]["Id"])
    time.sleep(20)
    jobs.compose("unpause", "queue")


def cut_off(jobs):
    jobs.network("disconnect", "queue")
    time.sleep(20)
    jobs.network("connect", "queue")


def replace_queue(jobs):
    jobs.compose("rm", "--stop", "--force", "queue")
    jobs.compose("up", "--detach", "--wait", "--no-deps", "queue")


def restart_workers(jobs):
    jobs.compose("stop", "worker")
    jobs.compose("start", "worker")


def deploy(jobs):
    factory = jobs.project / SLUG / "__init__.py"
    factory.write_text(factory.read_text() + "\n# another version\n")
    run("make", "deploy", cwd=jobs.project)


FAULTS = {
    "worker killed": lambda jobs: jobs.signal("worker", "KILL"),
    "workers stopped and started": restart_workers,
    "queue restarted": lambda jobs: jobs.compose("restart", "queue"),
    "queue killed": lambda jobs: jobs.signal("queue", "KILL"),
    "queue hung": hang,
    "queue cut off": cut_off,
    "queue replaced": replace_queue,
    "deployment": deploy,
}
SHORT = ["queue killed"]
LOSSLESS = ["workers stopped and started", "deployment"]


def none_is_left(jobs):
    """Return whether no job waits in the queue or in a worker."""
    left = redis_cli(jobs, "llen", "celery"), redis_cli(jobs, "hlen", "unacked")
    return left == ("0", "0")


@pytest.mark.parametrize("fault", FAULTS if WHOLE else SHORT)
def test_after_a_fault_each_job_runs_except_one_that_was_being_fetched(jobs, fault):
    prefix = fault.replace(" ", "-")
    accepted = set(json.loads(jobs.get(f"/jobs/many/{prefix}/{JOBS}", "POST", timeout=60).text))
    done = len(accepted & runs(jobs).keys())

    FAULTS[fault](jobs)
    begun = time.monotonic()
    wait_for(lambda: accepted <= runs(jobs).keys() or none_is_left(jobs), 120)
    took = time.monotonic() - begun

    time.sleep(1)  # a job that was being fetched, and was in neither place, has run
    times = runs(jobs)
    lost, twice = accepted - times.keys(), sum(times[name] > 1 for name in accepted)
    report(f"{fault} after {done} of {len(accepted)} jobs: {len(lost)} lost, {twice} twice, "
           f"{took:.0f} s after the repair")  # fmt: skip
    assert len(accepted) == JOBS > done
    assert len(lost) <= (fault not in LOSSLESS)


@pytest.mark.weekly
def test_no_job_is_lost_while_a_deployment_replaces_the_queue(jobs):
    compose, accepted, ended = jobs.project / "compose.yaml", set(), threading.Event()

    def enqueue_until_the_end(client):
        for number in itertools.count():
            if ended.is_set():
                return
            if enqueue(jobs, "record", f"replaced-{client}-{number}") == 202:
                accepted.add(f"replaced-{client}-{number}")
            time.sleep(0.1)

    with ThreadPoolExecutor(4) as pool:
        clients = pool.map(enqueue_until_the_end, range(4))
        for size in range(129, 134):
            former = re.search(r"maxmemory 1\d\dmb", compose.read_text())[0]
            change(compose, former, f"maxmemory {size}mb")
            run("make", "deploy", cwd=jobs.project)
        ended.set()
        list(clients)
    wait_for(lambda: accepted <= runs(jobs).keys() or none_is_left(jobs), 300)
    time.sleep(1)

    lost = accepted - runs(jobs).keys()
    report(f"queue replaced in 5 deployments: {len(lost)} of {len(accepted)} jobs lost")
    assert lost == set()


def lines(jobs, service="worker"):
    """Return the JSON lines that a service has logged."""
    return [json.loads(line) for line in jobs.logs(service) if line.startswith("{")]


def redis_cli(jobs, *command):
    """Return what a command of Redis prints in the queue: nothing, while it is down."""
    return jobs.inside("queue", "redis-cli", *command, check=False).strip()


def test_each_job_is_logged_with_the_id_of_its_request(jobs):
    response = jobs.get("/jobs/record/logged", "POST")
    job = json.loads(response.text)["id"]
    wait_for(lambda: runs(jobs)["logged"], 30)

    wait_for(lambda: len([line for line in lines(jobs) if line.get("task_id") == job]) == 2, 60)
    start, end = [line for line in lines(jobs) if line.get("task_id") == job]
    assert start["message"].endswith(".record started")
    assert end["message"].endswith(".record succeeded")
    assert end["duration_ms"] >= 20
    assert end["request_id"] == start["request_id"] == response.headers["X-Request-ID"]


def test_job_reads_from_the_database_what_a_request_has_stored(jobs):
    created = json.loads(jobs.get("/notes", "POST", {"title": "stored"}).text)
    assert enqueue(jobs, "read_note", created["id"]) == 202

    wait_for(lambda: runs(jobs)["stored"], 30)


def test_job_that_fails_or_ends_its_process_is_repeated_three_times(jobs):
    for task in ("fail", "end_worker"):
        assert enqueue(jobs, task, task) == 202

    wait_for(lambda: runs(jobs)["fail"] == runs(jobs)["end_worker"] == 4, 90)
    time.sleep(10)  # longer than any delay of a retry would take
    assert runs(jobs)["fail"] == runs(jobs)["end_worker"] == 4
    failed = [line["level"] for line in lines(jobs) if ".fail failed" in line["message"]]
    assert failed == ["WARNING", "WARNING", "WARNING", "ERROR"]
    assert [line for line in lines(jobs) if "Task handler raised error" in line["message"]]


@pytest.mark.weekly
def test_job_that_does_not_end_is_ended_after_a_minute(jobs):
    assert enqueue(jobs, "never_end", "endless") == 202

    took = wait_for(
        lambda: [line for line in lines(jobs) if "Hard time limit" in line["message"]], 90
    )

    report(f"endless job: ended after {took:.0f} s")
    assert took > 50
    assert runs(jobs)["endless"] == 1


@pytest.mark.weekly
def test_job_that_outlives_a_stop_runs_again(jobs):
    """The worker waits for 25 seconds, and then returns the job to the queue."""
    assert enqueue(jobs, "record", "long", seconds=40) == 202
    wait_for(lambda: not waiting(jobs), 30)

    jobs.compose("stop", "worker")
    assert waiting(jobs) == 1
    jobs.compose("start", "worker")
    wait_for(lambda: none_is_left(jobs), 120)

    assert runs(jobs)["long"] == 1  # it counts at its end


def waiting(jobs):
    """Return how many jobs wait in the queue."""
    return int(redis_cli(jobs, "llen", "celery"))


def test_running_jobs_are_listed(jobs):
    assert enqueue(jobs, "record", "slow", seconds=20) == 202  # the command takes seconds to start
    celery = ["celery", "--app", f"{SLUG}.make_celery"]

    def listed():
        return jobs.inside("worker", *celery, "inspect", "active", check=False)

    wait_for(lambda: "slow" in listed(), 60)


def message(body, headers):
    """Return a message for the worker, as kombu stores it in Redis."""
    delivery = {"exchange": "", "routing_key": "celery"}
    given = {"delivery_tag": str(headers), "delivery_info": delivery}
    content = {"content-type": "application/json", "content-encoding": "utf-8"}
    return json.dumps({"body": body, "headers": headers, "properties": given, **content})


MESSAGES = {
    "JSONDecodeError": "not JSON",
    "KeyError('delivery_tag')": '{"body": "{}", "headers": {}, "properties": {}}',
    "deleted unknown message": message("{}", {}),
    "unregistered task": message("[[], {}, {}]", {"id": "1", "task": "none"}),
}


@pytest.mark.weekly
def test_message_that_is_no_job_is_logged_and_deleted(jobs):
    for text in MESSAGES.values():
        redis_cli(jobs, "lpush", "celery", text)
    assert enqueue(jobs, "record", "after-garbage") == 202

    wait_for(lambda: runs(jobs)["after-garbage"], 60)
    wait_for(lambda: redis_cli(jobs, "llen", "celery") == "0", 30)
    for reason in MESSAGES:
        wait_for(lambda reason=reason: reason in "\n".join(jobs.logs("worker")), 100)


def test_without_the_queue_only_what_enqueues_fails(jobs):
    jobs.compose("stop", "queue")
    note, begun = jobs.get("/notes", "POST", {"title": "no queue"}), time.monotonic()
    page, enqueued = jobs.get("/"), jobs.get("/jobs/record/refused", "POST", timeout=30)
    took = time.monotonic() - begun
    ready = jobs.get("/readyz")
    jobs.compose("start", "queue")
    wait_for(lambda: enqueue(jobs, "record", "again") == 202, 60)
    wait_for(lambda: runs(jobs)["again"], 60)

    logged = [
        line["message"] for line in lines(jobs, "web") if "was not enqueued" in line["message"]
    ]
    report(
        f"queue stopped: page {page.status}, note {note.status}, job {enqueued.status} after {took:.1f} s"
    )
    assert (page.status, note.status, ready.status) == (200, 201, 503)
    assert json.loads(ready.text)["checks"]["queue"] == "failing"
    assert ".record was not enqueued: " in logged[-1]
    assert enqueued.status == 503
    assert took < 10


def test_job_is_refused_soon_while_the_queue_hangs(jobs):
    jobs.pause(jobs.containers()["queue"]["Id"])
    seconds = []
    for number in range(5):
        begun = time.monotonic()
        assert enqueue(jobs, "record", f"hung-{number}") == 503
        seconds.append(time.monotonic() - begun)
    jobs.compose("unpause", "queue")
    wait_for(lambda: jobs.health("queue") == "healthy", 30)

    report(f"queue hung: job refused after {max(seconds):.1f} s at most")
    assert max(seconds) <= 8


def test_full_queue_refuses_jobs_and_loses_none(jobs):
    """Clients enqueue jobs of 500 kB while no worker runs, and while one works on them."""
    statuses, numbers = {}, itertools.count()

    def accepted():
        return {name for name, status in list(statuses.items()) if status == 202}

    def enqueue_until(is_enough):
        end = time.monotonic() + 90
        while not is_enough() and time.monotonic() < end:
            name = f"full-{next(numbers)}"
            statuses[name] = enqueue(jobs, "record", name, padding="x" * 500_000)

    jobs.compose("stop", "worker")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enqueue_until, [lambda: 503 in list(statuses.values())] * 4))
        before = len(accepted())
        during = pool.map(enqueue_until, [lambda: len(accepted()) > before + 50] * 4)
        jobs.compose("start", "worker")
        list(during)
    wait_for(lambda: accepted() <= runs(jobs).keys(), 150)

    counts = Counter(statuses.values())
    report(f"full queue: {before} jobs accepted, then {counts[202] - before}; all ran; {counts}")
    assert set(counts) == {202, 503}


@pytest.mark.weekly
def test_full_volume_of_the_queue_loses_no_job(engine, cookies_session):
    """Redis exits when it cannot write, and Docker restarts it. The first jobs may still fit in."""
    kept, options = ExitStack(), FULL | {"use_worker": True}

    def prepare(project):
        kept.enter_context(small_volume(project, "queue", "queue", 32))

    def enqueue_five(full, name):
        return {f"{name}-{n}": enqueue(full, "record", f"{name}-{n}") for n in range(5)}

    with stack_with(cookies_session, options, "fullqueue", 8247, "jobs", "", prepare) as full, kept:
        inside = ["docker", "exec", f"{full.name}-holder", "sh", "-c"]
        full.compose("stop", "worker")
        accepted = set(json.loads(full.get("/jobs/many/before/50", "POST").text))
        run(*inside, "cat /dev/zero >/kept/ballast", cwd=full.project, check=False)
        first = enqueue_five(full, "first")
        full.compose("start", "worker")
        others = {full.get(path).status for path in ("/", "/notes", "/livez")}
        time.sleep(20)
        later = enqueue_five(full, "later")
        log, restarts = full.logs("queue"), full.containers()["queue"]["RestartCount"]
        run(*inside, "rm /kept/ballast", cwd=full.project)
        took = wait_for(lambda: enqueue(full, "record", "room") == 202, 120)
        accepted |= {"room"} | {name for name, status in first.items() if status == 202}
        wait_for(lambda: accepted <= runs(full).keys(), 150)

    counts = Counter(first.values()), Counter(later.values())
    report(f"volume of the queue full: {counts}, restarted {restarts} times; accepts jobs {took:.0f} s "
           f"after there was room; all {len(accepted)} accepted jobs ran")  # fmt: skip
    assert set(counts[0]) <= {202, 503}
    assert counts[1] == {503: 5}
    assert others == {200}
    assert restarts > 0
    assert [line for line in log if "Can't recover from AOF write error" in line], log[-20:]


def minutes(jobs):
    """Return the minutes in which scheduled jobs have started."""
    ran = [line for line in lines(jobs) if line["message"] == "example: once a minute"]
    return [line["time"][:16] for line in ran]


@pytest.mark.weekly
def test_schedule_fires_once_a_minute_even_if_beat_was_killed(jobs):
    """Two containers run the jobs. The short form looks at one minute, after beat was killed."""
    jobs.compose("up", "--detach", "--wait", "--no-recreate", "--scale=worker=2", "worker")
    before = len(minutes(jobs))
    if WHOLE:
        wait_for(lambda: len(minutes(jobs)) == before + 3, 200)
    jobs.signal("beat", "KILL")
    wait_for(lambda: len(minutes(jobs)) == before + (6 if WHOLE else 1), 200)
    time.sleep(5)  # long enough for a second run in the same minute

    ran = minutes(jobs)[before:]
    assert len(ran) == len(set(ran)) == (6 if WHOLE else 1)
    assert jobs.containers()["beat"]["RestartCount"] == 1


STOPPED = {
    "worker-hung": ("worker", lambda jobs: jobs.signal("worker", "STOP")),
    "queue-stopped": ("worker", lambda jobs: jobs.compose("stop", "queue")),
    "beat-hung": ("beat", lambda jobs: jobs.signal("beat", "STOP")),
}


@pytest.mark.weekly
@pytest.mark.parametrize("fault", STOPPED)
def test_health_check_notices_that_jobs_do_not_run(jobs, fault):
    service, stop = STOPPED[fault]

    jobs.compose("up", "--detach", "--wait", "--no-recreate", "--scale=worker=1", "worker", "beat")
    stop(jobs)
    took = wait_for(lambda: jobs.health(service) == "unhealthy", 400)
    jobs.signal(service, "CONT")
    jobs.compose("start", "queue")
    wait_for(lambda: jobs.health(service) == "healthy", 60 if service == "worker" else 240)
    report(f"{fault}: unhealthy after {took:.0f} s")


@pytest.mark.weekly
def test_deployment_whose_worker_does_not_start_keeps_web_running(jobs):
    file = jobs.project / SLUG / "make_celery.py"
    text = file.read_text()
    file.write_text(f"{text}\nraise RuntimeError('it does not start')\n")

    failed = run("make", "deploy", cwd=jobs.project, check=False)
    web = jobs.get("/livez").status
    file.write_text(text)
    run("make", "deploy", cwd=jobs.project)

    assert failed.returncode != 0
    assert "RuntimeError: it does not start" in failed.stdout
    assert (
        "The old version of web keeps running, but worker and beat were replaced" in failed.stdout
    )
    assert "The old version keeps running." not in failed.stdout
    assert web == 200
    assert enqueue(jobs, "record", "after-the-repair") == 202
    wait_for(lambda: runs(jobs)["after-the-repair"], 30)
