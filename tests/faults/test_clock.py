"""The clock of the machine is set an hour forward, and then an hour back.

A container has the clock of its host, which no test may set. tests/payloads/clock.c changes the
time that programs get from the C library. Only the times of files, which the health checks of
worker and beat compare, and the program of Caddy, which needs no library, stay as they are.
"""

import json
import shutil
import struct
import time
from dataclasses import dataclass

import pytest
import yaml
from deploying import identities
from figures import report
from load import Load, run_number
from projects import FULL, PAYLOADS, run
from stacks import stack_with, unfinished_jobs, wait_for

pytestmark = [
    pytest.mark.docker,
    pytest.mark.faults,
    pytest.mark.weekly,
    pytest.mark.xdist_group("clock"),
]
HOUR = 3600
SERVICES = ("web", "worker", "beat", "redis", "queue", "postgres", "nginx")


def own_clock(project):
    """Let the services of a project have a clock that a file can set."""
    folder = project / "clock"
    folder.mkdir()
    library = ["-shared", "-fPIC", f"-o{folder}/clock.so", PAYLOADS / "clock.c"]
    run("cc", "-O2", "-Wall", "-Werror", *library, cwd=project)
    (folder / "seconds").write_bytes(struct.pack("q", 0))
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    file = project / "compose.yaml"
    config = yaml.safe_load(file.read_text())
    for name in SERVICES:
        service = config["services"][name]
        service["environment"] = service.get("environment", {}) | {"LD_PRELOAD": "/clock/clock.so"}
        service["volumes"] = [*service.get("volumes", []), "./clock:/clock:ro"]
    file.write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture(scope="module")
def stack(engine, cookies_session):
    if not shutil.which("cc"):
        pytest.skip("a C compiler is missing: apt-get install gcc libc6-dev")
    arguments = (FULL | {"use_worker": True}, "clock", 8252, "jobs faults")
    with stack_with(cookies_session, *arguments, prepare=own_clock) as stack:
        yield stack


def redis(stack, *command):
    return stack.inside("redis", "redis-cli", *command).strip()


def session(stack, cookie=""):
    """Return the number of requests of a session, and its cookie."""
    response = stack.get("/faults/session", Cookie=cookie)
    return json.loads(response.text)["count"], response.getheader("Set-Cookie").partition(";")[0]


def fired(stack):
    """Return how often the schedule has enqueued its job, which is due once a minute."""
    return sum("example: once a minute" in line for line in stack.logs("worker"))


def now(stack):
    """Return the time of the service, of its database and of its cache."""
    program = "import time; print(time.time())"
    return (
        float(stack.inside("web", "python", "-c", program)),
        float(stack.sql("SELECT extract(epoch FROM now())")[0]),
        float(redis(stack, "time").split()[0]),
    )


@dataclass
class Seen:
    """What has become of a session, a cached value, a job and the schedule from before."""

    failed: list
    requests: int  # of the same session
    cached: int  # seconds until Redis deletes a value that it was to keep for a minute
    runs: int
    schedule: float  # seconds until it goes on
    restarted: list


def set_clock(stack, seconds):
    """Set the clock under load."""
    name, title = f"slow-{next(run_number)}", f"run {next(run_number)}"
    requests = {
        "page": lambda number: ("GET", "/", None),
        "list": lambda number: ("GET", f"/notes?page={number % 500 + 1}", None),
        "note": lambda number: ("POST", "/notes", {"title": f"{title}, {number}"}),
        "job": lambda number: ("POST", f"/jobs/store/{number}", {}),
    }
    before, (_, cookie) = identities(stack, *SERVICES), session(stack)
    redis(stack, "set", "probe", "x", "ex", "60")
    assert stack.get(f"/jobs/record/{name}", "POST", {"seconds": 20}).status == 202
    with Load(stack.port, requests, rate=20) as load:
        time.sleep(5)
        enqueued = fired(stack)
        with (stack.project / "clock/seconds").open("r+b") as file:
            file.write(struct.pack("q", seconds))
        cached = int(redis(stack, "ttl", "probe"))
        used, _ = session(stack, cookie)
        assert max(abs(one - time.time() - seconds) for one in now(stack)) < 10
        time.sleep(25)
    wait_for(lambda: not unfinished_jobs(stack), 150)
    try:
        schedule = wait_for(lambda: fired(stack) > enqueued, 150) + 25
    except AssertionError:
        schedule = float("inf")
    ran = json.loads(stack.get("/jobs/runs").text).count(name)
    after = identities(stack, *SERVICES)
    restarted = [one for one in SERVICES if after[one] != before[one]]
    seen = Seen(load.failed, used, cached, ran, schedule, restarted)
    report(f"clock set to {seconds} s: {load.outcome}; {seen}")
    return seen


def test_no_request_fails_and_nothing_restarts_when_the_clock_is_set(stack):
    forward = set_clock(stack, HOUR)
    back = set_clock(stack, 0)
    enqueued = fired(stack)
    stack.compose("restart", "beat")
    schedule = wait_for(lambda: fired(stack) > enqueued, 90)
    stack.compose("restart", "redis")
    wait_for(lambda: stack.get("/readyz").status == 200, 60)

    report(f"the schedule goes on {schedule:.0f} s after a restart of beat")
    for seen in (forward, back):
        assert seen.failed == []
        assert seen.restarted == []
        assert seen.runs >= 1
    assert (forward.requests, back.requests) == (2, 1)  # a session from the future has ended
    assert forward.cached == -2  # deleted
    assert back.cached > HOUR
    assert forward.schedule < 70
    assert back.schedule == float("inf")  # until the time of the last job has come again
    assert redis(stack, "ttl", "probe") == "-2"
