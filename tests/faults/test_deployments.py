"""Deployments lose no request: whatever they change, when they are interrupted, and when they fail.

``DEPLOYMENTS=10`` runs ten deployments for each kind of change, all front ends, and each
interruption at each moment; it prints a table of each.
"""

import http.client
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import deploying
import pairwise
import pytest
from deploying import CHANGES, Session, containers, identities, replicas, unchanged
from figures import report
from load import Load, ask, everything, results, slow_requests
from projects import BARE, ENVIRONMENT, FULL, TEMPLATE, change, run
from stacks import DIGITS, free_containers, stack_with, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("deployments")]
DEPLOYMENTS = int(os.environ.get("DEPLOYMENTS", "1"))
numbers = itertools.count(1)
STAY = ("nginx", "postgres", "redis")


@pytest.fixture(scope="module")
def deployed(engine, cookies_session):
    """Start a stack of its own, whose files the tests change for good."""
    prepare = deploying.show_release
    with stack_with(cookies_session, FULL, "deployed", 8187, prepare=prepare) as stack:
        yield stack


@pytest.fixture
def service(deployed):
    """Return the stack; if it does not serve after a test that failed, start it anew."""
    deploying.set_constant(deployed, "START_SECONDS", 0)
    if ask(deployed.port, path="/readyz") != 200:
        deployed.compose("up", "--detach", "--build", "--wait", "--force-recreate")
        wait_for(lambda: ask(deployed.port, path="/readyz") == 200, 60)
    return deployed


@pytest.fixture(scope="module")
def table():
    """Print the rows that tests add, after the last test."""
    rows = []
    yield rows
    for row in rows:
        report("| " + " | ".join(map(str, row)) + " |")


def scale(stack, number):
    if replicas(stack) != number:
        run("make", "deploy", f"replicas={number}", cwd=stack.project)


# Whatever it changes


def deploy(stack, kinds, rate):
    """Deploy these changes under load, and return the load and the seconds."""
    here = replicas(stack)
    asked = 3 - here if "replicas" in kinds else here
    arguments = [f"replicas={asked}"] if "replicas" in kinds else []
    stay = [name for name in STAY if stack.options[f"use_{name}"]]
    before, counted = identities(stack, *stay), deploying.number_of_containers(stack)
    visitors = deploying.Visitors(stack, f"deployment {next(numbers)}")
    checks = {k: CHANGES[k](stack, next(numbers)) for k in kinds if k != "replicas"}
    load = Load(stack.port, visitors.requests, 2, rate, True, visitors.watch)

    with load:
        deployed = run("make", "deploy", *arguments, cwd=stack.project, check=False)
        took = time.monotonic() - load.begun
        time.sleep(2)

    assert deployed.returncode == 0, deployed.stdout
    missing = [kind for kind, in_effect in checks.items() if not all(in_effect() for _ in range(6))]
    assert missing == [], "not in effect"
    assert deploying.number_of_containers(stack) == counted | {"web": asked}, "left over"
    assert replicas(stack) == asked
    assert visitors.confused == []
    assert load.statuses.total() >= rate * took / 2
    changed = [name for name in stay if identities(stack, name)[name] != before[name]]
    return load, took, changed


def deployments(stack, table, kinds, rate, number, times):
    """Deploy several times, add a row to the table, and check that no request failed."""
    scale(stack, number)
    done = [deploy(stack, kinds, rate) for _ in range(times)]
    failed = [failure for load, _, _ in done for failure in load.failed]
    requests = sum(load.statuses.total() for load, _, _ in done)
    seconds = sum(took for _, took, _ in done)
    row = (", ".join(kinds), rate, number, times, requests, len(failed), round(seconds))
    if not table:
        table.append("changed; requests/s; replicas; deployments; requests; failed; s".split("; "))
    table.append(row)
    outcomes = "; ".join(load.outcome for load, _, _ in done)
    report(f"{row[0]}, {rate} requests/s, replicas {number}: {outcomes}, in {row[-1]} s")
    assert failed == []
    assert [name for _, _, changed in done for name in changed] == [], "replaced or restarted"


KINDS = [kind for kind in CHANGES if kind != "script"] + ["replicas"]
SHORT = [(KINDS, 30, 1, 1)]  # all of them in one deployment


def spread(kinds):
    """Return rows: the deployments of each kind, over one and two replicas, slow and fast."""
    ways = list(itertools.product([1, 2], [30, 5]))
    counts = [len(range(order, DEPLOYMENTS, len(ways))) for order in range(len(ways))]
    return [
        ([kind], rate, number, count)
        for (number, rate), count in zip(ways, counts, strict=True)
        for kind in kinds
        if count
    ]


def title(row):
    kinds = "everything" if row[0] == KINDS else row[0][0].replace(" ", "-")
    return f"{kinds}-{row[1]}-{row[2]}"


ROWS = SHORT if DEPLOYMENTS == 1 else spread(KINDS)


@pytest.mark.parametrize("row", ROWS, ids=title)
def test_deployment_loses_no_request_whatever_it_changes(service, table, row):
    deployments(service, table, *row)


FRONT_ENDS = [answer for answer in pairwise.questions()["frontend"] if answer != "none"]


@pytest.mark.weekly
@pytest.mark.parametrize("frontend", FRONT_ENDS)
def test_deployment_of_a_script_loses_no_request(engine, cookies_session, table, frontend):
    options = FULL | {"frontend": frontend}
    with stack_with(cookies_session, options, f"deployed-{frontend}", 8188) as stack:
        for row in spread(["script"]):
            deployments(stack, table, *row)


SLOW = [(1, 30, 0)]
if DEPLOYMENTS > 1:
    SLOW = list(itertools.product([2, 1], [5, 30, 200], [0, 10]))


@pytest.mark.parametrize(("number", "rate", "start_seconds"), SLOW)
def test_deployment_waits_for_slow_requests(service, number, rate, start_seconds):
    """Requests that began before nginx uses the new containers end, however slow these start."""
    scale(service, number)
    old = {c["Id"] for c in containers(service, "web")}
    deploying.set_constant(service, "START_SECONDS", start_seconds)
    in_effect = deploying.change_code(service, next(numbers))
    requests = everything()
    del requests["readyz"]  # 503 while the machine is too busy for a dependency to respond in time
    load = Load(service.port, requests, max(1, rate // 30), rate, keep_alive=True)

    with ThreadPoolExecutor() as pool, load:
        deployment = pool.submit(run, "make", "deploy", cwd=service.project)
        wait_for(lambda: deployment.done() or len(containers(service, "web")) > number, 120)
        slow = slow_requests(service, 2, start_seconds + 6)
        deployed = deployment.result().stdout
        took = time.monotonic() - load.begun
        time.sleep(1)

    new = {c["Id"] for c in containers(service, "web")}
    report(f"deployment at {rate} requests/s, replicas: {number}, start: {start_seconds} s: "
           f"{load.outcome}, in {took:.0f} s")  # fmt: skip
    assert all(in_effect() for _ in range(8))
    assert len(new) == number
    assert not new & old
    assert f"http://127.0.0.1:{service.port}" in deployed.splitlines()[-1]
    assert load.statuses.total() >= rate * took / 2
    assert load.failed == []
    assert results(slow) == [200, 200]


# Interrupted


class Before:
    """The state before a deployment, to recognise its moments."""

    def __init__(self, service):
        self.web = {c["Id"] for c in containers(service, "web")}
        self.image = deploying.image(service)
        self.version = deploying.answer(service)["version"]

    def old(self, service):
        return [c for c in containers(service, "web") if c["Id"] in self.web]

    def new(self, service):
        return [c for c in containers(service, "web") if c["Id"] not in self.web]


def is_healthy(container):
    return container["State"].get("Health", {}).get("Status") == "healthy"


def has_ended(service, before):
    running = [c for c in before.old(service) if c["State"]["Running"]]
    return len(running) < len(before.web)


def is_stopping(service, before):
    """Return whether gunicorn says in an old container that it received a signal."""
    logs = [
        run("docker", "logs", "--tail=20", c["Id"], cwd=service.project, check=False).stdout
        for c in before.old(service)
    ]
    return has_ended(service, before) or any("signal: term" in log.lower() for log in logs)


# Each function gets the session, the stack, its state before, and whether the column exists.
MOMENTS = {
    "it starts": lambda session, *_: session.runs("bin/deploy"),
    "it builds": lambda session, *_: session.runs(" build"),
    "it has built": lambda _, s, before, __: deploying.image(s) != before.image,
    "it migrates": lambda session, *_: session.runs("migrate"),
    "it has migrated": lambda _, s, __, migrated: migrated(),
    "new container": lambda _, s, before, __: before.new(s),
    "it is healthy": lambda _, s, before, __: any(map(is_healthy, before.new(s))),
    "nginx uses it": lambda _, s, before, __: deploying.answer(s)["version"] != before.version,
    "old one stops": lambda _, s, before, __: is_stopping(s, before),
    "old one has stopped": lambda _, s, before, __: has_ended(s, before),
}
SIGNALS = ["HUP", "INT", "TERM", "KILL", "KILL alone"]


def interrupt(service, moment, how, asked, migrated):
    """Interrupt a deployment, while old containers have to wait for two slow requests."""
    before, slow, names = Before(service), [], list(MOMENTS)
    session = Session(service.project, f"replicas={asked}")

    def reach(name):
        look = MOMENTS[name]
        wait_for(lambda: session.ended() or look(session, service, before, migrated), 180)
        assert not session.ended(), f"ended before {name}\n{session.output[-2000:]}"

    if names.index(moment) > names.index("new container"):
        reach("new container")
        slow = slow_requests(service, 2, 12)
    reach(moment)
    session.interrupt(how)
    session.finish()
    assert session.process.returncode != 0
    return slow


def everyday(service):
    return deploying.Visitors(service, f"interruption {next(numbers)}").requests


@pytest.mark.weekly
@pytest.mark.parametrize(("moment", "how"), list(itertools.product(MOMENTS, SIGNALS)))
def test_interrupted_deployment_leaves_a_version_that_serves(service, table, moment, how):
    asked, number = 3 - replicas(service), next(numbers)
    old = deploying.answer(service)["version"]
    deploying.set_constant(service, "START_SECONDS", 4)
    deploying.change_code(service, number)
    migrated = deploying.change_migration(service, number, seconds=3)

    with Load(service.port, everyday(service), 2, 20, True) as load:
        slow = interrupt(service, moment, how, asked, migrated)
        time.sleep(3)
        versions = {deploying.answer(service)["version"] for _ in range(8)}
        slow = results(slow)
    if moment == "it starts":  # too early to know the number
        asked = int(deploying.setting(service, "WEB_REPLICAS") or 1)

    service.compose("up", "--detach", "--wait")
    after_up = replicas(service)
    wait_for(lambda: service.get("/").status == 200, 60)
    with Load(service.port, everyday(service), 2, 20, True) as later:
        time.sleep(2)
        deploying.set_constant(service, "START_SECONDS", 0)
        again = run("make", "deploy", cwd=service.project, check=False)
        time.sleep(1)

    row = (moment, how, load.outcome, versions, after_up, later.outcome, replicas(service))
    table.append(row)
    report(f"interrupted when {moment} by {how}: {load.outcome}; {later.outcome}")
    assert load.failed == []
    assert set(slow) <= {200}
    assert versions in ({old}, {number})
    assert after_up == asked
    assert again.returncode == 0, again.stdout
    assert later.failed == []
    assert replicas(service) == asked
    assert {deploying.answer(service)["version"] for _ in range(8)} == {number}


# Failed


def failed_deployment(stack, mistake=lambda stack: None, **environment):
    """Return the last lines of a deployment that fails, and check that nothing was lost."""
    services = [name for name in ("web", *STAY) if stack.options.get(f"use_{name}", True)]
    before, counted = identities(stack, *services), deploying.number_of_containers(stack)
    with unchanged(stack.project):
        mistake(stack)
        with Load(stack.port, everything(), 2, 50, keep_alive=True) as load:
            deployed = run("make", "deploy", cwd=stack.project, check=False, **environment)
            time.sleep(1)

    report(f"failed deployment: exit code {deployed.returncode}; {load.outcome}")
    assert deployed.returncode != 0
    assert load.failed == []
    assert identities(stack, *services) == before
    assert deploying.number_of_containers(stack) == counted
    assert not re.search('File ".*bin/deploy"', deployed.stdout), deployed.stdout
    return "\n".join(list(filter(str.strip, deployed.stdout.splitlines()))[-25:])


def break_build(stack):
    change(
        stack.project / "Dockerfile", "USER 10001:10001", "RUN cc no-such-file.c\nUSER 10001:10001"
    )


def break_migration(stack):
    """Add a migration that creates a table that exists."""
    folder = stack.project / stack.project.name / "migrations"
    text = (folder / "0001_create_notes.py").read_text()
    text = text.replace('revision = "0001"', 'revision = "9999"', 1)
    text = re.sub("^branch_labels.*", "branch_labels = None", text, flags=re.M)
    head = deploying.newest_revision(folder)
    text = text.replace("down_revision = None", f'down_revision = "{head}"')
    (folder / "9999_again.py").write_text(text)


def break_import(stack):
    file = stack.project / stack.project.name / "home.py"
    file.write_text(file.read_text() + "\nimport no_such_package  # noqa\n")


def break_server(stack):
    """Add an error that appears only when ``web`` starts, after the migrations."""
    server = stack.project / "config/gunicorn.py"
    server.write_text(server.read_text() + "\nimport no_such_module  # noqa\n")


def break_nginx(stack):
    change(stack.project / "nginx/nginx.conf.template", "gzip on;", "gzip onn;")


def break_password(stack):
    deploying.set_variable(stack, "DATABASE_PASSWORD", "another-password-0123456789")


def fill_disk(stack):
    """No space is left on the device while the image is built."""
    dockerfile = stack.project / "Dockerfile"
    before, user, after = dockerfile.read_text().rpartition("USER 10001:10001")
    fill = "RUN --mount=type=tmpfs,target=/full,size=1m head -c 9m /dev/zero > /full/file\n"
    dockerfile.write_text(before + fill + user + after)


def break_health(stack):
    """Add a health check of web that fails, and is made every second."""
    (stack.project / "bin/healthcheck").write_text("print('not today')\nraise SystemExit(1)\n")
    compose = stack.project / "compose.yaml"
    head, name, rest = compose.read_text().partition("\n  web:")  # the first of all services
    for option in ("interval", "start_period"):
        rest = re.sub(rf"\b{option}: 30s", f"{option}: 1s", rest, count=1)
    compose.write_text(head + name + rest)


INVALID = {
    "TRUSTED_HOSTS": "https://example.com",
    "MAX_CONTENT_LENGTH": "5MB",
    "RATE_LIMIT": "fast",
    "HTTP_PORT": "abc",
}


def change_key(stack):
    """Change the key of a zone: nginx accepts that at its start only."""
    zone = "limit_req_zone $binary_remote_addr zone=requests"
    change(
        stack.project / "nginx/nginx.conf.template",
        zone,
        "limit_req_zone $server_addr zone=requests",
    )


def set_invalid(stack):
    for name, value in INVALID.items():
        deploying.set_variable(stack, name, value)


MISTAKES = {
    break_build: ["cc no-such-file.c"],
    break_migration: ['relation "notes" already exists'],
    break_import: ["No module named 'no_such_package'"],
    break_server: ["No module named 'no_such_module'"],
    break_nginx: ['invalid value "onn" in "gzip" directive'],
    break_password: ["password authentication failed", "DATABASE_PASSWORD"],
    fill_disk: ["No space left on device"],
    break_health: ["web is unhealthy: not today"],
    change_key: ["nginx has not loaded the configuration", "give the zone another name"],
    set_invalid: list(INVALID),
}


QUICK = [break_health]


@pytest.mark.parametrize(
    "mistake", MISTAKES if DEPLOYMENTS > 1 else QUICK, ids=lambda mistake: mistake.__name__
)
def test_failed_deployment_ends_with_the_cause_and_keeps_the_old_version(service, mistake):
    last = failed_deployment(service, mistake)

    assert [text for text in MISTAKES[mistake] if text not in last] == [], last
    assert "old version" in last


@pytest.mark.weekly
def test_wrong_password_is_found_without_a_migration_too(service):
    last = failed_deployment(service, break_password, migrate="no")

    assert "DATABASE_PASSWORD" in last


@pytest.mark.weekly
def test_failed_migration_without_nginx_keeps_the_old_version_running(direct_stack):
    last = failed_deployment(direct_stack, break_migration)

    assert MISTAKES[break_migration][0] in last, last


def test_deployment_to_a_busy_port_is_refused(service):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        last = failed_deployment(service, lambda s: deploying.set_variable(s, "HTTP_PORT", port))

    assert str(port) in last
    assert "HTTP_PORT" in last
    assert "old version" in last


def test_deployment_without_a_running_docker_says_so(service):
    last = failed_deployment(service, DOCKER_HOST="unix:///no/such.sock")

    assert "Docker" in last
    assert "running" in last


def test_deployment_without_docker_says_so(service, tmp_path):
    names = ["sh", "bash", "env", "make", "sed", "awk", "grep", "dirname", "uv", "npm"]
    for name in names:
        (tmp_path / name).symlink_to(shutil.which(name, path=ENVIRONMENT["PATH"]))
    (tmp_path / "python3").symlink_to(sys.executable)
    last = failed_deployment(service, PATH=str(tmp_path))

    assert "docker is not installed" in last


@pytest.mark.weekly
def test_second_deployment_says_which_is_running_and_leaves(service):
    deploying.set_constant(service, "START_SECONDS", 5)
    in_effect, number = deploying.change_code(service, next(numbers)), replicas(service)
    with Load(service.port, everything(), 2, 50, keep_alive=True) as load:
        first = Session(service.project)
        wait_for(lambda: first.ended() or replicas(service) > number, 120)
        pid = first.program()
        second = run("make", "deploy", cwd=service.project, check=False)
        still_running = not first.ended()
        first.finish()
    report(f"two deployments at once: {load.outcome}")
    assert second.returncode != 0
    assert still_running
    assert str(pid) in second.stdout
    assert "Traceback" not in second.stdout
    assert first.process.returncode == 0
    assert in_effect()
    assert replicas(service) == number
    assert load.failed == []


# Special projects


@pytest.mark.weekly
def test_project_name_of_digits_works(engine, cookies_session):
    settings = f"COMPOSE_PROJECT_NAME={DIGITS}\n"
    options = BARE | {"use_nginx": True}

    def forget(project):
        free_containers(project)  # of an earlier run that was killed

    with stack_with(
        cookies_session, options, "digits", 8189, settings=settings, prepare=forget
    ) as stack:
        old = {c["Id"] for c in containers(stack, "web")}
        in_effect = deploying.change_code(stack, next(numbers))
        requests = {"page": lambda number: ("GET", "/", None)}
        with Load(stack.port, requests, 4, 30, keep_alive=True) as load:
            run("make", "deploy", cwd=stack.project)
            time.sleep(1)

        report(f"project {DIGITS}: {load.outcome}")
        assert in_effect()
        assert load.failed == []
        assert replicas(stack) == 1
        assert not old & {c["Id"] for c in containers(stack, "web")}


@pytest.mark.weekly
def test_container_of_compose_run_is_neither_counted_nor_stopped(service):
    """Somebody works in `docker compose run web flask shell` during a deployment."""
    number, in_effect = replicas(service), deploying.change_code(service, next(numbers))
    shell = service.compose("run", "--detach", "--no-deps", "web", "sleep", "300").stdout.split()[
        -1
    ]
    try:
        run("make", "deploy", cwd=service.project)
        state = run("docker", "inspect", "--format={{.State.Status}}", shell, cwd=service.project)
    finally:
        run("docker", "rm", "--force", shell, cwd=service.project)

    assert state.stdout == "running\n"
    assert in_effect()
    assert replicas(service) == number


@pytest.mark.weekly
def test_container_that_starts_after_a_deployment_gets_requests(service):
    """nginx sends requests to the containers of a deployment only while that runs."""
    number = replicas(service)
    run("make", "deploy", cwd=service.project)
    deployed = {c["Id"] for c in containers(service, "web")}

    try:
        service.compose("up", "--detach", "--wait", "--no-recreate", f"--scale=web={number + 1}")
        [new] = {c["Id"] for c in containers(service, "web")} - deployed
        wait_for(lambda: service.get("/about") and "/about" in log_of(new), 60)
    finally:
        service.compose("up", "--detach", "--wait", "--no-recreate")

    assert replicas(service) == number


def log_of(container):
    return run("docker", "logs", container, cwd=TEMPLATE).stdout


def set_memory(stack, service, megabytes):
    """Change the definition of a service: its limit of memory."""
    compose = stack.project / "compose.yaml"
    head, name, rest = compose.read_text().partition(f"\n  {service}:\n")
    assert name
    limited = re.sub("memory: [0-9]+m", f"memory: {megabytes}m", rest, count=1)
    compose.write_text(head + name + limited)


@pytest.mark.weekly
def test_deployment_says_so_before_it_replaces_postgres_and_redis(service):
    before = identities(service, "postgres", "redis")
    set_memory(service, "postgres", 600)
    set_memory(service, "redis", 200)
    command = ["make", "deploy"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=service.project, env=ENVIRONMENT, **options) as deployment:
        lines = [(time.time(), line) for line in deployment.stdout]

    assert deployment.returncode == 0, lines
    for name in ("postgres", "redis"):
        [said] = [at for at, line in lines if f"{name} or its image has changed" in line]
        created = containers(service, name)[0]["Created"]
        assert said <= datetime.fromisoformat(created).timestamp()
        assert identities(service, name)[name] != before[name]


@pytest.mark.weekly
def test_new_definition_of_nginx_closes_its_port_for_seconds_only(service):
    """Such as a new version of its image; docs/deploy.md has the seconds."""
    before = identities(service, "nginx")
    set_memory(service, "nginx", 600)
    with Load(service.port, everything(), 2, 50, keep_alive=True) as load:
        deployed = run("make", "deploy", cwd=service.project).stdout
        time.sleep(2)

    answers = [one for found in load.answers.values() for one in found.seen]
    failed = [sent for sent, _, status in answers if status == 0]
    seconds = max(failed) - min(failed)
    report(f"nginx was replaced: its port was closed for {seconds:.1f} s; {load.outcome}")
    assert "nginx or its image has changed" in deployed
    assert identities(service, "nginx") != before
    assert seconds < 15


@pytest.mark.weekly
@pytest.mark.parametrize(("address", "client"), [("0.0.0.0", "127.0.0.1"), ("[::1]", "::1")])
def test_address_that_clients_connect_to_can_be_changed(service, address, client):
    """From this machine only, and back: the port is that of nginx itself."""
    before = deploying.setting(service, "BIND_ADDRESS")
    try:
        deploying.set_variable(service, "BIND_ADDRESS", address)
        deployed = run("make", "deploy", cwd=service.project).stdout
        connection = http.client.HTTPConnection(client, service.port, timeout=10)
        connection.request("GET", "/", headers={"Host": "localhost", "Connection": "close"})
        status = connection.getresponse().status
        connection.close()
    finally:
        deploying.set_variable(service, "BIND_ADDRESS", before or "127.0.0.1")
        run("make", "deploy", cwd=service.project)

    assert deployed.splitlines()[-1] == f"Up: http://{address}:{service.port}"
    assert status == 200
    assert service.get("/").status == 200


@pytest.mark.weekly
def test_address_of_another_machine_is_refused(service):
    last = failed_deployment(
        service, lambda s: deploying.set_variable(s, "BIND_ADDRESS", "192.0.2.1")
    )

    assert "BIND_ADDRESS in .env is 192.0.2.1, which is no address of this machine." in last
