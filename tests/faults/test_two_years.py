"""What happens to a service within two years, made to happen: restarts, new secrets, full logs.

Faults of a single service are in test_faults.py, new images in tests/running/test_images.py.
"""

import json
import random
import re
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from deploying import set_variable, setting
from dotenv import dotenv_values
from figures import report
from load import Load, ask, run_number
from projects import FULL, change, run
from stacks import stack_with, unfinished_jobs, wait_for, workers

pytestmark = [
    pytest.mark.docker,
    pytest.mark.faults,
    pytest.mark.weekly,
    pytest.mark.xdist_group("two years"),
]
OPTIONS = FULL | {"use_worker": True, "use_metrics": True}
SCRAPE = """
import sys, urllib.error, urllib.request as u
headers = {"Authorization": "Bearer " + sys.argv[1]}
try:
    request = u.Request("http://127.0.0.1:8000/metrics", headers=headers)
    print(u.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def stack(engine, cookies_session):
    """Start a stack with all services, and the endpoints of both modules."""
    with stack_with(cookies_session, OPTIONS, "years", 8251, module="jobs faults") as stack:
        yield stack


def everyday():
    """Return requests to the service, and to each of its dependencies."""
    title = f"run {next(run_number)}"
    return {
        "page": lambda number: ("GET", "/", None),
        "list": lambda number: ("GET", f"/notes?page={number % 500 + 1}", None),
        "note": lambda number: ("POST", "/notes", {"title": f"{title}, {number}", "body": ""}),
        "job": lambda number: ("POST", f"/jobs/store/{title.replace(' ', '-')}-{number}", {}),
    }


def is_up(stack):
    return ask(stack.port, path="/readyz") == 200


def titles(stack):
    """Return the titles of all notes: jobs of these tests store one, too."""
    return set(stack.sql("SELECT title FROM notes"))


# The host restarts


def ids(stack):
    """Return the containers that run, by service: after a restart, Docker starts these again."""
    found = stack.containers().items()
    return {name: one["Id"] for name, one in found if one["State"]["Running"]}


def are_healthy(stack):
    found = [one["State"] for one in stack.containers().values() if "Health" in one["State"]]
    return all(state["Health"]["Status"] == "healthy" for state in found)


def cut_power(stack, number):
    """Kill all containers under load; return what was acknowledged before."""
    with Load(stack.port, everyday(), 1) as load:
        time.sleep(1)
        jobs = json.loads(stack.get(f"/jobs/many/cut-{number}/100/store", "POST").text)
        run("docker", "kill", *ids(stack).values(), cwd=stack.project)
    return {note["title"] for note in load.acknowledged}, set(jobs)


@pytest.mark.parametrize("restarts", [10])
def test_service_recovers_from_a_restart_of_the_host(stack, restarts):
    """Docker starts the containers in any order, and knows no ``depends_on``."""
    notes, jobs = set(), set()
    for number in range(restarts):
        running = ids(stack)
        acknowledged = cut_power(stack, number)
        notes |= acknowledged[0]
        jobs |= acknowledged[1]
        order = random.Random(number).sample(sorted(running), len(running))
        begun = time.monotonic()
        for name in order:
            run("docker", "start", running[name], cwd=stack.project)
        answered = wait_for(lambda: is_up(stack), 120)
        wait_for(lambda: are_healthy(stack), 120)
        took = time.monotonic() - begun
        report(
            f"{', '.join(order)}: ready {answered:.0f} s after the last, healthy after {took:.0f} s"
        )
        assert ids(stack) == running
        assert answered < 60  # 5 to 12 on two busy CPUs; docs/update.md says 20

    begun = time.monotonic()
    wait_for(lambda: not unfinished_jobs(stack), 300)
    lost = jobs - titles(stack)
    report(f"{len(jobs)} jobs were accepted, {len(lost)} lost; {time.monotonic() - begun:.0f} s")
    assert notes - titles(stack) == set()
    assert len(lost) <= restarts  # at most the one that was being fetched: see docs/jobs.md


# All threads of a worker hang


def hang(stack, worker):
    """Block all threads of a worker: requests that another one gets are completed."""
    hung = 0
    while hung < 8:
        hung += ask(stack.port, path=f"/faults/hang/{worker}", timeout=1) == 0


def hang_all(stack):
    """Block all threads of all workers."""
    with ThreadPoolExecutor(40) as pool:
        for _ in range(40):
            pool.submit(ask, stack.port, path="/faults/hang/0", timeout=2)
    assert ask(stack.port, path="/livez", timeout=5) == 0
    with pytest.raises(AssertionError, match="timed out"):  # so Prometheus reports ServiceDown
        scrape(stack, setting(stack, "METRICS_TOKEN"))


@pytest.mark.parametrize("number", [1, 2])
def test_worker_whose_threads_all_hang_is_replaced(stack, number):
    hung = workers(stack)[:number]
    hang(stack, hung[0]) if number == 1 else hang_all(stack)
    begun = time.monotonic()
    with Load(stack.port, {"page": everyday()["page"]}, threads=40, rate=10) as load:
        wait_for(lambda: not set(hung) & set(workers(stack)), 300)
        replaced = time.monotonic()
        time.sleep(25)

    log = "\n".join(stack.logs("web", "--since=1m"))
    after = load.answers["page"].between(replaced + 3)
    report(f"{number} of 2 workers hung: replaced after {replaced - begun:.0f} s; {load.outcome}")
    assert replaced - begun < 300
    assert "was sent SIGALRM!" in log
    assert "in hang" in log  # what each thread did
    assert set(after.statuses) == {200}


# New secrets, as docs/configure.md describes


def change_under_load(stack, change, *command):
    """Change .env and deploy; return the load."""
    with Load(stack.port, everyday(), 2, 40, keep_alive=True) as load:
        time.sleep(1)
        change()
        deployed = run(*(command or ("make", "deploy")), cwd=stack.project, check=False)
        time.sleep(2)
    assert deployed.returncode == 0, deployed.stdout
    report(f"{change.__name__}: {load.outcome}")
    wait_for(lambda: is_up(stack), 60)
    return load


def delete_variable(stack, name):
    file = stack.project / ".env"
    file.write_text(re.sub(rf"(?m)^{name}=.*\n", "", file.read_text()))


def test_new_secret_key_ends_no_session(stack):
    response = stack.get("/faults/session")
    cookie = response.getheader("Set-Cookie").partition(";")[0]
    old = setting(stack, "SECRET_KEY")

    def new_key():
        set_variable(stack, "SECRET_KEY_FALLBACKS", old)
        delete_variable(stack, "SECRET_KEY")
        run("make", "env", cwd=stack.project)

    def no_old_key():
        delete_variable(stack, "SECRET_KEY_FALLBACKS")

    loads = [change_under_load(stack, new_key)]
    kept = json.loads(stack.get("/faults/session", Cookie=cookie).text)
    loads.append(change_under_load(stack, no_old_key))
    ended = json.loads(stack.get("/faults/session", Cookie=cookie).text)

    assert setting(stack, "SECRET_KEY") != old
    assert (kept, ended) == ({"count": 2}, {"count": 1})
    assert [load.failed for load in loads] == [[], []]


ROLES = {"DATABASE_PASSWORD": "user", "POSTGRES_PASSWORD": "postgres"}


@pytest.mark.parametrize("name", ROLES)
def test_new_password_of_postgres_fails_few_requests(stack, name):
    new = secrets.token_urlsafe(32)
    change = rf"docker compose exec postgres psql --username=postgres --command='\password {ROLES[name]}'"

    def new_password():
        typed = f'printf "%s\\n" "$NEW" "$NEW" | {change}'
        run("sh", "-c", typed, cwd=stack.project, NEW=new, COMPOSE_FILE="compose.yaml")
        set_variable(stack, name, new)

    load = change_under_load(stack, new_password)

    failed = Counter(kind for kind, _, _ in load.failed)
    report(f"{name}: of {load.statuses.total()} requests failed {dict(failed)}")
    assert set(failed) <= {"list", "note"}
    assert failed.total() < load.statuses.total() / 10


# The requests that fail meanwhile
NEW_SECRETS = {"REDIS_PASSWORD": set(), "QUEUE_PASSWORD": {"job"}, "METRICS_TOKEN": set()}


@pytest.mark.parametrize("name", NEW_SECRETS)
def test_new_secret_fails_only_what_the_document_says(stack, name):
    before = dotenv_values(stack.project / ".env")

    def new_secret():
        delete_variable(stack, name)

    load = change_under_load(stack, new_secret, "make", "env", "deploy")
    after = dotenv_values(stack.project / ".env")

    times = [sent for _, _, sent in load.failed]
    report(f"{name}: requests failed for {max(times, default=0) - min(times, default=0):.1f} s")
    assert {other for other in after if after[other] != before[other]} == {name}
    assert {kind for kind, _, _ in load.failed} <= NEW_SECRETS[name]
    assert scrape(stack, after["METRICS_TOKEN"]) == 200
    assert name != "METRICS_TOKEN" or scrape(stack, before[name]) == 401
    wait_for(lambda: not unfinished_jobs(stack), 120)


def scrape(stack, token):
    """Return the status of a request for the metrics."""
    return int(stack.inside("web", "python", "-c", SCRAPE, token))


def test_beat_is_healthy_when_no_job_is_due_for_hours(stack):
    file = stack.project / "config/celery.py"
    change(file, '"schedule": crontab(),', '"schedule": crontab(month_of_year=1, day_of_month=1),')
    run("make", "deploy", cwd=stack.project)

    checks = []
    for _ in range(78):  # 6.5 minutes
        time.sleep(5)
        state = stack.containers()["beat"]["State"]["Health"]
        checks.append((state["Status"], state["FailingStreak"]))

    assert set(checks) == {("healthy", 0)}


# Logs


def log_files(stack, service):
    """Return the sizes of the files of a log, which only root can read."""
    container = stack.containers()[service]
    folder = container["LogPath"].rpartition("/")[0]
    options = ["--rm", "--user=0", "--entrypoint=sh", f"--volume={folder}:/logs:ro"]
    command = ["docker", "run", *options, container["Image"], "-c", "stat -c %s /logs/*-json.log*"]
    return [int(size) for size in run(*command, cwd=stack.project).stdout.split()]


def test_log_takes_thirty_megabytes(stack):
    for _ in range(10):
        assert stack.get("/faults/log/500", timeout=60).status == 200

    sizes = log_files(stack, "web")
    report(f"40 MB were logged: files of {sizes} bytes")
    assert len(sizes) == 3
    assert max(sizes) < 10_020_000  # the last line may exceed 10 MB
    assert sum(sizes) > 20_000_000
    assert stack.logs("web", "--tail=1")
