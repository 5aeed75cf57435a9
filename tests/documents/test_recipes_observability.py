"""The recipes for login, traces and logs, followed in one project, against a provider and a collector."""

import ast
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from browser import chromium
from figures import report
from https_proxy import https
from projects import BARE, FULL, TEMPLATE, change, run, running
from recipes import RECIPES, recipe
from stacks import temporary_stack, wait_for, workers

pytestmark = [
    pytest.mark.docker,
    pytest.mark.weekly,
    pytest.mark.xdist_group("observability"),
]
PEERS = TEMPLATE / "tests/peers"
PORT, COLLECTOR, PROVIDER, DEVELOPMENT = 18850, 18860, 18852, 18870
SECRET = "the body of this note is a secret"
JOB = '''
from .core.database import db
from .models import Note


@shared_task
def shout(note_id: int) -> None:
    """Write the title of a note in capitals."""
    note = db.session.get_one(Note, note_id)
    note.title = note.title.upper()
    db.session.commit()
'''


@contextmanager
def peer(program, address, port, folder):
    """Run a program of tests/peers/, and return its address."""
    (folder / program / "here").mkdir(parents=True)
    command = ["uv", "run", "--quiet", "--script", PEERS / f"{program}.py", address, str(port)]
    with running(command, folder / program / "here"):
        yield f"http://{address}:{port}"


@pytest.fixture(scope="module")
def stack(bridge, cookies_session, tmp_path_factory):
    """Follow the recipes, and start the project behind a proxy for HTTPS."""
    folder = tmp_path_factory.mktemp("recipes")
    options = FULL | {"use_worker": True}
    with (
        peer("provider", bridge, PROVIDER, folder) as provider,
        peer("collector", bridge, COLLECTOR, folder) as collector,
        temporary_stack(cookies_session, options, "trace", PORT, slug="shop") as stack,
        https(PORT, folder) as (stack.origin, stack.certificate),
    ):
        project, stack.provider = stack.project, provider
        with (project / "shop/tasks.py").open("a") as tasks:
            tasks.write(JOB)
        notes, stored = project / "shop/notes.py", "    return note, {"
        change(notes, "import Note\n", "import Note\nfrom .tasks import shout\n")
        change(notes, stored, f"    shout.delay(note.id)\n{stored}")
        begun = time.monotonic()
        with recipe("login", project) as login:
            login.follow()
            login.text = ""  # see test_login_works_in_development
        with recipe("tracing", project, {"http://collector:4318": collector}) as tracing:
            tracing.follow()
        with recipe("logs", project) as logs:
            logs.follow()
            logs.follow("Loki")
            logs.follow("Elasticsearch")
        report(f"recipes followed in {time.monotonic() - begun:.0f} s")
        template = project / "nginx/nginx.conf.template"
        trust = "    real_ip_header X-Forwarded-For;\n    set_real_ip_from 172.16.0.0/12;\n"
        change(template, "    server_tokens", trust + "    server_tokens")
        change(template, "$scheme", "https")
        wait_for(lambda: requests.get(f"{provider}/jwks").ok, 60)
        redirect_uri = f"{stack.origin}/login/callback"
        client = requests.post(f"{provider}/oauth2/clients", json={"redirect_uris": [redirect_uri]})
        with (project / ".env").open("a") as settings:
            settings.write(f"OIDC_CLIENT_ID={client.json()['client_id']}\n")
            settings.write(f"OIDC_CLIENT_SECRET={client.json()['client_secret']}\n")
            metadata = f"{provider}/.well-known/openid-configuration"
            settings.write(f"OIDC_SERVER_METADATA_URL={metadata}\n")
        begun = time.monotonic()
        stack.up()
        report(f"healthy after {time.monotonic() - begun:.0f} s")
        yield stack


class Browser(requests.Session):
    """A browser with its own cookies, and without the proxies of the environment."""

    def __init__(self, stack):
        super().__init__()
        self.stack, self.verify, self.trust_env = stack, stack.certificate, False
        self.headers.update({"Connection": "close", "Accept": "text/html"})

    def request(self, method, url, **options):
        return super().request(method, urljoin(self.stack.origin, url), timeout=30, **options)

    def to_provider(self, path="/profile"):
        """Open a page, and return the address of the form of the provider."""
        form = self.get(path).url
        assert form.startswith(f"{self.stack.provider}/oauth2/authorize?"), form
        return form

    def log_in(self, name, path="/profile", forge=""):
        """Log in, and return the response of the service."""
        requests.post(f"{self.stack.provider}/forge/{forge}")
        return self.post(self.to_provider(path), data={"sub": name})


def lines(stack, service, text):
    """Return the log lines with this text, such as the ID of a request."""
    wait_for(lambda: any(text in line for line in stack.logs(service)), 60)
    return [json.loads(line) for line in stack.logs(service) if text in line]


def test_user_logs_in_and_out(stack):
    ann, ben = Browser(stack), Browser(stack)
    form = ann.to_provider()
    before = ann.cookies["__Host-session"]
    page = ann.post(form, data={"sub": "ann"})

    sent = {name: value for name, [value] in parse_qs(urlsplit(form).query).items()}
    assert sent["redirect_uri"] == f"{stack.origin}/login/callback"
    assert sent["code_challenge_method"] == "S256"  # the provider checks it
    assert (page.url, "<h1>ann</h1>" in page.text) == (f"{stack.origin}/profile", True)
    cookie, *attributes = page.history[-1].headers["Set-Cookie"].split("; ")
    assert {*attributes} == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}
    assert before not in cookie
    assert "<h1>ben</h1>" in ben.log_in("ben").text
    for _ in range(5):
        assert "<h1>ann</h1>" in ann.get("/profile").text
    assert page.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in ann.get("/notes").headers
    [line] = lines(stack, "web", page.headers["X-Request-ID"])
    assert (line["user.id"], line["client.ip"]) == ("ann", "127.0.0.1")

    assert ann.post("/logout").url == f"{stack.origin}/"
    ann.to_provider()
    code = parse_qs(urlsplit(page.history[0].headers["Location"]).query)["code"][0]
    for secret in (code, sent["state"], ann.headers.get("Cookie", before)):
        assert not any(secret in line for name in ("web", "nginx") for line in stack.logs(name))


@pytest.mark.parametrize(
    "forge", "issuer nonce audience expired unsigned key hmac".split(), ids=str
)
def test_forged_token_is_refused(stack, forge):
    browser = Browser(stack)
    response = browser.log_in("ann", forge=forge)

    assert response.status_code == 400
    assert "The login failed." in response.text
    browser.to_provider()  # not logged in
    assert "login refused: " in lines(stack, "web", response.headers["X-Request-ID"])[0]["message"]


def test_callback_needs_the_state_of_its_session(stack):
    victim, attacker = Browser(stack), Browser(stack)
    requests.post(f"{stack.provider}/forge/")
    form = attacker.to_provider()
    sent = attacker.post(form, data={"sub": "attacker"}, allow_redirects=False)
    callback = sent.headers["Location"]

    victim.to_provider()
    refused = [victim.get(callback), victim.get(callback.replace("state=", "state=x"))]
    refused += [Browser(stack).get(callback), attacker.get(callback.replace("code=", "code=x"))]
    assert [response.status_code for response in refused] == [400] * 4
    victim.to_provider()  # not logged in


def test_login_leads_to_no_other_site(stack):
    def last(path):
        return Browser(stack).log_in("ann", path).url

    assert last("/login?next=https://evil.example") == f"{stack.origin}/"
    assert last("/profile?next=//evil.example") == f"{stack.origin}/profile?next=//evil.example"
    for header in ("Host", "X-Forwarded-Host"):
        sent = Browser(stack).get("/login", headers={header: "evil.example"}, allow_redirects=False)
        assert "evil.example" not in sent.headers.get("Location", "")
    assert Browser(stack).get("/profile", headers={"Accept": "application/json"}).status_code == 401


def test_login_and_logout_work_under_the_policy(stack, tmp_path):
    requests.post(f"{stack.provider}/forge/")
    with chromium(tmp_path) as new_tab:
        tab = new_tab()
        tab.send("Security.setIgnoreCertificateErrors", ignore=True)
        tab.open(f"{stack.origin}/profile")
        tab.evaluate(
            "(field => { field.value = 'ann'; field.form.submit() })(document.forms[0].sub)"
        )
        wait_for(lambda: tab.text("h1") == "ann", 60)
        tab.evaluate("document.querySelector('button').click()")
        arrived = f"location.href == '{stack.origin}/' && document.readyState == 'complete'"
        wait_for(lambda: tab.evaluate(arrived), 60)
        assert not [message for message in tab.console if "Content Security Policy" in message]

        form = "document.body.appendChild(document.createElement('form'))"
        tab.evaluate(f"(form => {{ form.action = '/login'; form.submit() }})({form})")
        # "Links, not forms"
        wait_for(lambda: tab.evaluate("1") and "form-action" in str(tab.console), 60)
        assert tab.evaluate("location.href") == f"{stack.origin}/"


def spans():
    """Return what the collector has received."""
    return requests.get(f"http://127.0.0.1:{COLLECTOR + 1}").json()


def trace(stack, response, *names):
    """Return the spans of the trace of a response, by name, once they have arrived."""
    trace_id = lines(stack, "web", response.headers["X-Request-ID"])[-1]["trace.id"]
    found = {}

    def complete():
        found.update({s["name"]: s for s in spans() if s["trace"] == trace_id})
        return {*names} <= {*found}

    with suppress(AssertionError):  # the next one shows what is there
        wait_for(complete, 60)
    assert {*names} <= {*found}
    return found


def test_request_and_its_job_are_one_trace(stack):
    own = "0af7651916cd43dd8448eb211c80319c"
    response = Browser(stack).post(
        "/notes",
        json={"title": "A note", "body": SECRET},
        headers={"traceparent": f"00-{own}-b7ad6b7169203331-01"},
    )
    publish, job = (f"{verb}/shop.tasks.shout" for verb in ("apply_async", "run"))
    found = trace(stack, response, "POST /notes", "INSERT", publish, job, "UPDATE")

    request = found["POST /notes"]
    assert (request["kind"], request["parent"], request["service"]) == ("server", "", "shop")
    assert (request["http.response.status_code"], request["url.path"]) == (201, "/notes")
    assert request["client.address"] == "127.0.0.1"
    parents = {name: found[name]["parent"] for name in ("INSERT", publish, job, "UPDATE")}
    assert parents == {
        "INSERT": request["id"],
        publish: request["id"],
        job: found[publish]["id"],
        "UPDATE": found[job]["id"],
    }
    assert "INSERT INTO notes" in found["INSERT"]["db.query.text"]
    assert own != request["trace"]
    started = lines(stack, "worker", response.headers["X-Request-ID"])[0]
    assert started["trace.id"] == request["trace"]
    assert started["labels.task"] == "shop.tasks.shout"
    assert SECRET not in json.dumps(spans())
    assert not {name for s in spans() if re.search("livez|readyz", name := s["name"])}


def test_replaced_workers_send_spans(stack):
    def ask(_):
        return Browser(stack).get("/notes?page=7").headers["X-Request-ID"]

    for worker in workers(stack):
        stack.inside("web", "sh", "-c", f"kill -9 {worker}")
    wait_for(lambda: Browser(stack).get("/").status_code == 200, 60)
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(ask, range(40)))

    logged = [json.loads(line) for line in stack.logs("web") if '"url.path": "/notes"' in line]
    traces = {line["trace.id"] for line in logged if line["http.request.id"] in asked}
    assert len(traces) == 40
    wait_for(lambda: traces <= {span["trace"] for span in spans() if not span["parent"]}, 60)


DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00"


def test_lines_have_the_fields_of_the_schema(stack):
    response = Browser(stack).get("/notes/7?q=1")
    request_id = response.headers["X-Request-ID"]
    [line], [proxy] = (lines(stack, service, request_id) for service in ("web", "nginx"))

    for found in (line, proxy):
        fields = "http.request.method url.path http.response.status_code client.ip log.level"
        values = [found[field] for field in fields.split()]
        assert values == ["GET", "/notes/7", 404, "127.0.0.1", "INFO"]
        assert found["message"] == "GET /notes/7 404"
        assert re.fullmatch(DATE, found["@timestamp"])
        assert (found["http.request.id"], found["service.name"]) == (request_id, "shop")
        assert 1e6 <= found["event.duration"] < 5e9  # nanoseconds
        assert all("." in name or name in ("@timestamp", "message") for name in found)
    assert (line["log.logger"], proxy["log.logger"]) == ("shop.requests", "nginx.access")
    assert re.fullmatch("[0-9a-f]{32}", line["trace.id"])

    stack.sql("ALTER TABLE notes RENAME TO gone")
    failed = Browser(stack).get("/notes?page=8")
    stack.sql("ALTER TABLE gone RENAME TO notes")
    error, request = lines(stack, "web", failed.headers["X-Request-ID"])
    assert (failed.status_code, request["http.response.status_code"]) == (500, 500)
    assert (error["log.level"], error["error.type"]) == ("ERROR", "ProgrammingError")
    assert 'relation "notes" does not exist' in error["error.message"]
    assert error["error.stack_trace"].startswith("Traceback (most recent call last):")
    assert error["trace.id"] == request["trace.id"]


def test_fields_of_the_queries_are_in_the_table(stack):
    text = (RECIPES / "logs.md").read_text()
    table = dict(re.findall(r"^\| `(\w+)`.*?\| `([\w.@]+)`", text, re.M))
    source = ast.parse((stack.project / "shop/core/ecs.py").read_text())
    [schema] = [
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "NAMES"
    ]

    assert table == schema | {"duration_ms": "event.duration"}
    queries = re.findall(r"^- [^`]+:\s+`([^`]+)`$", text, re.M)
    assert len(queries) == 3
    for query in queries:
        used = re.findall(r"\| (?:unwrap )?(\w+)(?= [>\[]|=)|by \((\w+)\)", query)
        assert used, query
        assert {a or b for a, b in used} <= {*table}


def test_service_needs_neither_collector_nor_provider(stack):
    url = f"http://{urlsplit(stack.provider).hostname}:9"  # nothing listens there
    settings = stack.project / ".env"
    with settings.open("a") as file:
        file.write(f"OTEL_EXPORTER_OTLP_ENDPOINT={url}\nOIDC_SERVER_METADATA_URL={url}/metadata\n")
    stack.compose("up", "--detach", "--wait", "--no-deps", "web")

    def ask(path):
        begun = time.monotonic()
        return Browser(stack).get(path).status_code, time.monotonic() - begun

    wait_for(lambda: ask("/notes")[0] == 200, 60)
    statuses, seconds = zip(*(ask("/notes") for _ in range(20)), strict=True)
    report(f"without a collector, the slowest of 20 requests took {max(seconds):.2f} s")
    assert {*statuses} == {200}
    assert max(seconds) < 5  # the exporter gives up after 10 s
    assert ask("/login")[0] == 503
    begun = time.monotonic()
    stack.compose("stop", "web")
    assert time.monotonic() - begun < 30
    assert stack.containers()["web"]["State"]["ExitCode"] == 0


@pytest.mark.faults
@pytest.mark.weekly
def test_own_checks_pass_with_all_recipes(stack):
    run("make", "check", cwd=stack.project)


def test_login_works_in_development(bake):
    project = bake(**BARE, project_name="Shop")
    ports = {"9400": str(DEVELOPMENT), "8000": str(DEVELOPMENT + 1)}
    with recipe("login", project, ports) as login:
        login.follow()
        attempt, login.text = login.text, ""
    [commands] = re.findall(r"## Try it\n.*?```sh\n(.*?)```", attempt, re.S)
    page = re.search(r"<(http.*?)/profile>", attempt)[1]
    provider = f"http://localhost:{DEVELOPMENT}"
    (file := project / ".env").write_text(f"{file.read_text()}PORT={DEVELOPMENT + 1}\n")

    with running(["sh", "-c", commands], project):
        wait_for(lambda: ready(f"{provider}/jwks", f"{page}/livez"), 60)
        browser = requests.Session()
        browser.trust_env = False
        form = browser.get(f"{page}/profile", headers={"Accept": "text/html"}).url
        shown = browser.post(form, data={"sub": "ann"})

    assert form.startswith(provider)
    assert (shown.url, "<h1>ann</h1>" in shown.text) == (f"{page}/profile", True)


def ready(*addresses):
    """Return whether all addresses respond."""
    with suppress(requests.ConnectionError):
        return all(requests.get(address, timeout=5).ok for address in addresses)
