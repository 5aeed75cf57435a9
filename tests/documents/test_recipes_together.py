"""All recipes that fit one project, followed in it, in containers with nginx and the worker."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from figures import report
from projects import FULL, change, run
from recipes import follow_recipe
from sentry import sentry
from smtp_server import mailbox
from stacks import temporary_stack, wait_for

pytestmark = [
    pytest.mark.docker,
    pytest.mark.xdist_group("together"),
    pytest.mark.weekly,
]
# In this order, the imports in create_app() are sorted.
RECIPES = ["login", "tracing", "logs", "files", "errors", "cors", "limits", "languages", "mail"]
APPLICATION = "https://app.example.com"
SECRET = "a-secret-value"
TASK = '''

@shared_task(max_retries=1, retry_backoff=1)
def fail(text: str) -> None:
    """Fail twice."""
    raise RuntimeError(f"the job failed with {len(text)}")
'''
VIEWS = '''

@bp.post("/fail")
def fail() -> str:
    """Fail."""
    raise RuntimeError("the view failed")


@bp.post("/jobs")
def jobs() -> dict[str, str]:
    """Enqueue two jobs."""
    tasks.fail.delay(request.args["text"])
    tasks.send_mail.delay("ann@example.org", "Grüße", "Willkommen.")
    return {}


@bp.cli.command()
@click.argument("text")
def broken(text: str) -> None:
    """Fail."""
    raise RuntimeError("the command failed")
'''


def add_examples(project):
    """Add views, a task and a command that fail."""
    tasks, home = project / "shop/tasks.py", project / "shop/home.py"
    tasks.write_text(tasks.read_text() + TASK)
    change(home, "from flask import", "import click\nfrom flask import")
    change(home, "render_template\n", "render_template, request\n")
    change(home, "import Map\n", "import Map\n\nfrom . import tasks\n")
    home.write_text(home.read_text() + VIEWS)


@pytest.fixture(scope="module")
def peers(bridge):
    """Run what stands in for Sentry, and an SMTP server, where containers reach them."""
    with sentry(bridge) as receiver, mailbox(bridge) as box:
        yield receiver, box


@pytest.fixture(scope="module")
def stack(peers, cookies_session):
    """Follow the recipes, check the project as its owner would, and start it."""
    receiver, box = peers
    options = FULL | {"use_worker": True}
    with temporary_stack(cookies_session, options, "together", 18890, slug="shop") as stack:
        for recipe in RECIPES:
            follow_recipe(stack.project, recipe)
        run("make", "check", cwd=stack.project)
        add_examples(stack.project)
        with (stack.project / ".env").open("a") as settings:
            settings.write(
                f"SENTRY_DSN={receiver.dsn}\nFRONTEND_ORIGIN={APPLICATION}\n"
                f"MAIL_URL={box.url}\nMAIL_FROM=shop@example.com\nWEB_REPLICAS=2\n"
                "S3_BUCKET=shop\nAWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=secret\n"
                "OIDC_SERVER_METADATA_URL=https://127.0.0.1:1/\n"
                "OIDC_CLIENT_ID=shop\nOIDC_CLIENT_SECRET=secret\n"
            )
        begun = time.monotonic()
        stack.up()
        report(f"with {len(RECIPES)} recipes: up after {time.monotonic() - begun:.0f} s")
        yield stack


def ids(events):
    """Return the tag of each event."""
    return [event["tags"]["request_id"] for event in events]


def test_stack_with_all_recipes_is_ready(stack):
    assert json.loads(stack.get("/readyz").text)["status"] == "ok"


def test_each_error_is_reported_once_with_the_id_of_its_request(stack, peers):
    receiver, _ = peers
    secrets = {"Cookie": f"session={SECRET}", "Authorization": f"Bearer {SECRET}"}
    failed = stack.get(f"/fail?q={SECRET}", "POST", {"text": SECRET}, **secrets)
    enqueued = stack.get(f"/jobs?text={SECRET}", "POST", **secrets)
    stack.compose("exec", "-T", "web", "flask", "home", "broken", SECRET, check=False)
    for error in ("the view", "the job", "the command"):
        wait_for(lambda error=error: receiver.events(f"{error} failed"), 60)
    time.sleep(5)  # for a second one

    assert (failed.status, enqueued.status) == (500, 200)
    assert ids(receiver.events("the view failed")) == [failed.headers["X-Request-ID"]]
    assert ids(receiver.events("the job failed with 14")) == [enqueued.headers["X-Request-ID"]]
    [command] = receiver.events("the command failed")
    assert "request_id" not in command.get("tags", {})
    assert SECRET not in str(receiver.received)


def test_service_and_worker_go_on_if_sentry_hangs(stack, peers):
    receiver, box = peers
    delivered = len(box.messages)
    receiver.works.clear()
    durations = []
    for _ in range(150):  # more than the queue of the SDK contains
        begun = time.monotonic()
        assert stack.get("/fail", "POST").status == 500
        durations.append(time.monotonic() - begun)
    for _ in range(5):
        stack.get("/jobs?text=abc", "POST")
    seconds = wait_for(lambda: len(box.messages) >= delivered + 5, 60)
    receiver.works.set()
    slowest = max(durations)
    report(f"Sentry hangs: slowest of 150 errors {slowest:.2f} s, ten jobs {seconds:.1f} s")

    assert slowest < 2


def test_job_sends_a_message_until_it_is_accepted(stack, peers):
    _, box = peers
    box.messages.clear()
    box.refusals = 2
    enqueued = stack.get("/jobs?text=abc", "POST")
    seconds = wait_for(lambda: box.messages, 60)
    time.sleep(3)
    report(f"an e-mail that was refused twice was delivered after {seconds:.1f} s")

    [(recipients, message)] = box.messages
    assert (recipients, message["Subject"]) == (["ann@example.org"], "Grüße")
    lines = [line for line in stack.logs("worker") if enqueued.headers["X-Request-ID"] in line]
    assert len([line for line in lines if "an e-mail was not sent" in line]) == 2


def test_application_can_read_the_errors_of_nginx(stack):
    url, large = "/notes", "x" * 2_000_000
    response = stack.get(url, "POST", large, Origin=APPLICATION)
    other = stack.get(url, "POST", large, Origin="https://evil.example")
    read = stack.get(url, Origin=APPLICATION)

    for answer, status in [(response, 413), (read, 200)]:
        assert answer.status == status
        assert answer.headers.get_all("Access-Control-Allow-Origin") == [APPLICATION]
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert other.status == 413
    assert other.headers["Access-Control-Allow-Origin"] is None
    assert stack.get(url, "POST", {"title": "a"}, Origin="https://evil.example").status == 403


def test_image_contains_the_translations(stack):
    headers = {"Accept-Language": "de", "Accept": "text/html"}

    assert "Nicht gefunden" in stack.get("/missing", **headers).text


def test_service_signs_urls(stack):
    created = stack.get("/files", "POST", {"type": "image/png", "size": 7})

    assert created.status == 201
    assert "X-Amz-Signature=" in json.loads(created.text)["url"]


def store(stack, count, threads=1):
    """Store notes, and return how many responses have each status, and the slowest."""

    def post(_):
        begun = time.monotonic()
        status = stack.get("/notes", "POST", {"title": "A note"}).status
        return status, time.monotonic() - begun

    with ThreadPoolExecutor(threads) as pool:
        statuses, seconds = zip(*pool.map(post, range(count)), strict=True)
    return {status: statuses.count(status) for status in statuses}, max(seconds)


def test_two_containers_share_a_limit_and_go_on_without_redis(stack):
    time.sleep(61)  # other tests may have stored a note
    statuses, _ = store(stack, 30, threads=8)
    report(f"ten notes a minute, two containers: {statuses}")
    assert statuses == {201: 10, 429: 20}

    redis = f"{stack.name}-redis-1"
    stack.pause(redis)
    hanging, slowest = store(stack, 80, threads=16)
    run("docker", "unpause", redis, cwd=stack.project)
    report(f"Redis hangs: {hanging}, slowest {slowest:.2f} s")
    assert hanging.keys() == {201, 429}
    assert 10 < hanging[201] < 80
    assert slowest < 5

    assert any("falling back to in-memory" in line for line in stack.logs("web"))
    seconds = wait_for(lambda: limit_is_shared(stack), 240)
    report(f"Redis is back: the limit is shared again after at most {seconds:.0f} s")


def limit_is_shared(stack):
    """Return whether all processes count together; each tries Redis again with a request."""
    time.sleep(61)
    return store(stack, 30, threads=8)[0] == {201: 10, 429: 20}
