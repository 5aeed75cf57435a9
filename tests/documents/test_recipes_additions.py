"""The recipes that add a module to a service, followed in one project, and in the smallest one.

Each is tested against the server that it needs; with the worker and nginx, in containers.
"""

import json
import os
import secrets
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import quote

import pytest
import requests
from browser import chromium
from figures import report
from pages import pages
from projects import (
    BARE,
    FULL,
    TEMPLATE,
    change,
    run,
    running,
)
from recipes import ADDITIONS, RECIPES, WITHOUT_REDIS, follow_recipe
from sentry import sentry
from smtp_server import PASSWORD, mailbox, silent_server
from stacks import wait_for

pytestmark = pytest.mark.xdist_group("additions")
PEERS = TEMPLATE / "tests/peers"
PORT = 18880 + int(os.environ.get("TRIAL_PORTS", "0"))
EXAMPLES = '''

@bp.route("/fail", methods=["GET", "POST"])
def fail() -> str:
    """Fail."""
    secret = "-".join(["a", "secret", "value"])  # the line is sent, too
    raise RuntimeError(f"the view failed with {len(secret)}")


@bp.route("/visits", methods=["GET", "POST"])
def visits() -> ResponseReturnValue:
    """Count the visits in the session; show the token."""
    session["visits"] = session.get("visits", 0) + (request.method == "POST")
    return {"visits": session["visits"], "token": request.headers.get("Authorization")}


@bp.post("/send")
def send() -> ResponseReturnValue:
    """Send a message."""
    mail.send(request.args["to"], "Grüße", "Willkommen.")
    return {}


@bp.cli.command()
@click.argument("text")
def broken(text: str) -> None:
    """Fail."""
    raise RuntimeError(f"the command failed with {len(text)}")
'''
SECRET = "a-secret-value"


def followed(cookies_session, pages, **options):
    """Generate a project, and follow recipes there."""
    answers = BARE | options | {"project_slug": "shop"}
    project = cookies_session.bake(extra_context=answers).project_path
    for page in pages:
        follow_recipe(project, page)
    return project


def add_examples(project):
    """Add views and a command that tests need."""
    home = project / "shop/home.py"
    imports = "current_app, render_template\n"
    change(home, imports, "current_app, render_template, request, session\n")
    change(home, "from flask import", "import click\nfrom flask import")
    change(home, "import Map\n", "import Map\n\nfrom . import mail\n")
    change(home, "from werkzeug", "from flask.typing import ResponseReturnValue\nfrom werkzeug")
    home.write_text(home.read_text() + EXAMPLES)


@pytest.fixture(scope="module")
def full(cookies_session):
    return followed(cookies_session, ADDITIONS, **FULL | {"use_worker": True})


@pytest.fixture(scope="module")
def bare(cookies_session):
    """Return a project with no option, in which the recipes are followed that need none."""
    project = followed(cookies_session, WITHOUT_REDIS)
    add_examples(project)
    return project


def production(project, **settings):
    """Return the environment of a service in production, without other servers."""
    return {
        "APP_ENV": "production",
        "FLASK_APP": "shop",
        "SECRET_KEY": secrets.token_hex(),
        "TRUSTED_HOSTS": "127.0.0.1,localhost",
        "PORT": str(PORT),
        "GRACEFUL_TIMEOUT": "5",  # a worker that gets SIGTERM twice hangs in rare cases
        "MAIL_URL": "smtp://127.0.0.1:1",
        "MAIL_FROM": "shop@example.com",
        "S3_BUCKET": "shop",
        "AWS_ACCESS_KEY_ID": "S3RVER",
        "AWS_SECRET_ACCESS_KEY": "S3RVER",
        **settings,
    }


@contextmanager
def service(project, **settings):
    """Run gunicorn, and return the file with its log."""
    gunicorn = ".venv/bin/gunicorn --config python:config.gunicorn".split()
    environment = production(project, **settings)
    with running(gunicorn, project, signal.SIGTERM, **environment) as (program, log):
        wait_for(lambda: program.poll() is not None or ask("/livez").status == 200, 60)
        assert program.poll() is None, log.read_text()
        yield log


def ask(path, method="GET", body=None, port=PORT, **headers):
    """Return the response of the service."""
    connection = HTTPConnection("127.0.0.1", port, timeout=15)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Connection": "close", **headers})
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


def own_tests_of(pages):
    """Return the tests that recipes copy."""
    return [f"tests/{file.name}" for page in pages for file in (RECIPES / page).glob("test_*")]


def test_code_and_tests_of_each_recipe_pass_the_checks(full):
    run(*"uv run ruff check".split(), cwd=full)
    run(*"uv run ruff format --check".split(), cwd=full)
    run(*"uv run pytest".split(), *own_tests_of(ADDITIONS), cwd=full)


@pytest.mark.weekly
def test_own_checks_pass_in_the_smallest_project(cookies_session):
    run("make", "check", cwd=followed(cookies_session, WITHOUT_REDIS))


def test_error_of_a_view_is_reported_once_without_secrets(bare):
    headers = {"Cookie": f"session={SECRET}", "Authorization": f"Bearer {SECRET}"}
    headers |= {"Content-Type": "application/json", "X-Custom": SECRET}
    with sentry("127.0.0.1") as receiver:
        with service(bare, SENTRY_DSN=receiver.dsn):
            body = json.dumps({"name": SECRET})
            response = ask(f"/fail?q={SECRET}", "POST", body, **headers)
            assert ask("/missing").status == 404
        events = receiver.events("")  # gunicorn has stopped: nothing is sent any more

    assert response.status == 500
    [event] = events
    assert event["tags"]["request_id"] == response.headers["X-Request-ID"]
    assert event["exception"]["values"][-1]["value"] == "the view failed with 14"
    assert event["transaction"] == "home.fail"
    assert SECRET not in str(receiver.received)
    assert "user" not in event


@pytest.mark.weekly
def test_error_of_a_command_is_reported_once_without_its_arguments(bare):
    command = ["uv", "run", "--quiet", "flask", "home", "broken", SECRET]
    with sentry("127.0.0.1") as receiver:
        settings = production(bare, SENTRY_DSN=receiver.dsn)
        failed = run(*command, cwd=bare, check=False, **settings)
        [event] = receiver.events("")

    assert failed.returncode == 1
    assert event["exception"]["values"][-1]["value"] == "the command failed with 14"
    assert SECRET not in str(receiver.received)


@pytest.mark.weekly
def test_service_and_command_go_on_if_sentry_hangs(bare):
    command = ["uv", "run", "--quiet", "flask", "home", "broken", "text"]
    with sentry("127.0.0.1") as receiver, service(bare, SENTRY_DSN=receiver.dsn):
        receiver.works.clear()
        settings = production(bare, SENTRY_DSN=receiver.dsn)
        durations = []
        for _ in range(300):  # more than the queue of the SDK
            begun = time.monotonic()
            assert ask("/fail").status == 500
            durations.append(time.monotonic() - begun)
        begun = time.monotonic()
        run(*command, cwd=bare, check=False, **settings)
        ended = time.monotonic() - begun
    report(
        f"Sentry hangs: the slowest of 300 errors took {max(durations):.2f} s; a command {ended:.1f} s"
    )

    assert max(durations) < 1
    assert ended < 10


FETCH = """
    fetch("http://localhost:%d/visits", %s).then(
        async (response) => [response.headers.get("X-Request-ID")?.length, await response.json()],
        (error) => error.name)
"""


def test_application_uses_cookies_and_tokens_in_a_browser(bare, tmp_path):
    application, other = PORT + 1, PORT + 2
    origin = f"http://localhost:{application}"
    post = '{method: "POST", credentials: "include"}'
    token = '{method: "POST", headers: {Authorization: "Bearer abc"}}'
    with (
        pages(tmp_path, application, other),
        service(bare, FRONTEND_ORIGIN=origin),
        chromium(tmp_path) as new_tab,
    ):
        tab = new_tab()
        results = {}
        for host in (f"localhost:{application}", f"localhost:{other}", f"127.0.0.1:{application}"):
            tab.open(f"http://{host}/index.html")
            fetches = (FETCH % (PORT, options) for options in (post, post, token))
            results[host] = [tab.evaluate(fetch) for fetch in fetches]
        tab.open(f"http://localhost:{PORT}/")
        own = tab.evaluate(FETCH % (PORT, post))

    counted = [
        [32, {"visits": n, "token": t}] for n, t in [(1, None), (2, None), (1, "Bearer abc")]
    ]
    assert results.pop(f"localhost:{application}") == counted
    assert [*results.values()] == [["TypeError"] * 3] * 2
    assert own == [32, {"visits": 3, "token": None}]


def test_message_is_delivered_or_refused(bare):
    with mailbox("127.0.0.1") as box, service(bare, MAIL_URL=box.url) as log:
        sent = ask("/send?to=ann@example.org", "POST")
        box.refusals = 1
        refused = ask("/send?to=ben@example.org", "POST", Accept="application/json")
        again = ask("/send?to=ben@example.org", "POST")
    [(recipients, message), _] = box.messages

    assert [response.status for response in (sent, refused, again)] == [200, 503, 200]
    assert (recipients, message["To"]) == (["ann@example.org"], "ann@example.org")
    assert (message["From"], message["Subject"]) == ("shop@example.com", "Grüße")
    assert message.get_content().strip() == "Willkommen."
    assert message["Date"].datetime
    assert message["Message-ID"].endswith("@example.com>")
    assert refused.headers["Retry-After"] == "60"
    [line] = [
        line for line in map(json.loads, log.read_text().splitlines()) if "e-mail" in str(line)
    ]
    assert "451" in line["message"]
    assert line["request_id"] == refused.headers["X-Request-ID"]


@pytest.mark.weekly
def test_password_is_sent_only_over_tls(bare, tmp_path):
    trusted = tmp_path / "ca.pem"
    with mailbox("127.0.0.1", trusted) as box:
        url = box.url.replace("//", f"//shop:{quote(PASSWORD, safe='')}@")
        with service(bare, MAIL_URL=url, SSL_CERT_FILE=str(trusted)):
            assert ask("/send?to=ann@example.org", "POST").status == 200
        with service(bare, MAIL_URL=url):
            assert ask("/send?to=ann@example.org", "POST").status == 503
    with mailbox("127.0.0.1") as plain:  # it offers no STARTTLS
        url = plain.url.replace("//", "//shop:secret@")
        with service(bare, MAIL_URL=url):
            assert ask("/send?to=ann@example.org", "POST").status == 503

    assert len(box.messages) == 1
    assert box.encrypted
    assert not plain.messages


@pytest.mark.weekly
def test_request_waits_ten_seconds_for_a_server_that_hangs(bare):
    with (
        silent_server("127.0.0.1") as url,
        service(bare, MAIL_URL=url),
        ThreadPoolExecutor() as pool,
    ):
        begun = time.monotonic()
        waiting = pool.submit(ask, "/send?to=ann@example.org", "POST")
        others = [ask("/").status for _ in range(20)]
        responded = time.monotonic() - begun
        status, seconds = waiting.result().status, time.monotonic() - begun
    report(f"an SMTP server hangs: {status} after {seconds:.1f} s")

    assert others == [200] * 20
    assert responded < 5
    assert status == 503
    assert 9 < seconds < 13


@pytest.fixture
def bucket(tmp_path):
    """Run a server with an empty bucket, and return its address."""
    run(*"npm install --silent --no-save @20minutes/s3rver@5.0.0".split(), cwd=tmp_path)
    (files := tmp_path / "files").mkdir()
    command = ["node", PEERS / "s3.cjs", "127.0.0.1", str(PORT + 3), files]
    with running(command, files, NODE_PATH=str(tmp_path / "node_modules")):
        wait_for(lambda: ask("/", port=PORT + 3).status, 30)
        yield f"http://127.0.0.1:{PORT + 3}"


def upload_url(**file):
    """Return the key and the URL for a new file."""
    headers = {"Content-Type": "application/json"}
    response = ask("/files", "POST", json.dumps(file), **headers)
    assert response.status == 201
    return json.loads(response.text).values()


@pytest.mark.weekly
def test_bucket_accepts_the_file_that_was_signed_and_no_other(bare, bucket):
    content = b"\x89PNG..."
    png = {"Content-Type": "image/png"}
    with service(bare, AWS_ENDPOINT_URL_S3=bucket):
        key, url = upload_url(type="image/png", size=len(content))
        assert url.startswith(f"{bucket}/shop/{key}?")
        larger = requests.put(url, content + b"!", headers=png)
        other_type = requests.put(url, content, headers={"Content-Type": "text/html"})
        other_key = requests.put(url.replace(key, "other"), content, headers=png)
        stored = requests.put(url, content, headers=png)
        received = requests.get(f"http://127.0.0.1:{PORT}/files/{key}")
        deleted = requests.delete(received.url)
    with service(bare, AWS_ENDPOINT_URL_S3=bucket, AWS_SECRET_ACCESS_KEY="another"):
        wrong = requests.get(f"http://127.0.0.1:{PORT}/files/{key}")

    refused = [larger, other_type, other_key, deleted, wrong]
    assert [response.status_code for response in refused] == [403] * 5
    assert (stored.status_code, received.status_code, received.content) == (200, 200, content)
    assert received.headers["Content-Type"] == "image/png"
    assert received.headers["Content-Disposition"] == "attachment"
