"""A generated project with the additions of an owner, which are in tests/payloads/owner/."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from urllib.parse import urljoin

import pytest
import requests
import simple_websocket
from figures import report
from https_proxy import https
from load import Load
from projects import FULL, PAYLOADS, change, commands, run
from recipes import follow
from stacks import temporary_stack, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("owner")]
OWNER, PORT, MB = PAYLOADS / "owner", 8183, 1_000_000
# A file, a text in it, and the lines that the owner adds before that text
ADDITIONS = [
    ("owner/__init__.py", "    home,\n", "    extras,\n"),
    ("owner/__init__.py", "    return app", "    extras.init_app(app)\n"),
    ("config/settings.py", "\ntry:\n    env.seal", """
ADMINS = read(env.list, "ADMINS", ["ann"], subcast=str.strip)
PAGE_SIZE = read(env.int, "PAGE_SIZE", 20)
SUPPORT_DAYS = read(env.int, "SUPPORT_DAYS", None)
REPORTS_URL = read(env.str, "REPORTS_URL", in_development("sqlite:///reports.db"))
SQLALCHEMY_ENGINES = {"reports": REPORTS_URL}
SOCK_SERVER_OPTIONS = {"ping_interval": 25}
"""),
    (".env.example", "\n# Port of the s", "\n# ADMINS=\n# PAGE_SIZE=\n# SUPPORT_DAYS=\n# REPORTS_URL=\n"),
    ("compose.yaml", "      GRACEFUL_TIMEOUT:\n", """      ADMINS:
      PAGE_SIZE:
      SUPPORT_DAYS:
      REPORTS_URL: postgresql+psycopg://owner@postgres:5432/reports
"""),
    ("config/gunicorn.py", "get_ident\n", "Thread, "),
    ("config/gunicorn.py", "def when_ready", """def post_worker_init(worker: Any) -> None:
    from owner import extras

    Thread(target=extras.count, args=(worker.wsgi,), daemon=True).start()


"""),
    ("tests/conftest.py", '        "TESTING": True,', '        "WTF_CSRF_ENABLED": False,\n'),
    ("tests/conftest.py", '        "APP_ENV": "production",',
     '        "REPORTS_URL": "postgresql+psycopg://owner@127.0.0.1:1/reports",\n'),
    (".env", "# Port of the s", f"ADMINS=ann, ben\nPAGE_SIZE=25\nMAX_CONTENT_LENGTH={110 * MB}\n"),
]  # fmt: skip


@pytest.fixture(scope="module")
def owned(engine, cookies_session):
    """Start the project with all additions, and then deploy it with a trusted proxy."""
    with temporary_stack(cookies_session, FULL, "owner", PORT, slug="owner") as stack:
        project = stack.project
        run("uv", "add", "--quiet", "flask-login", "flask-sock", "flask-wtf", cwd=project)
        shutil.copy(OWNER / "extras.py", project / "owner")
        shutil.copy(OWNER / "checks.py", project / "tests/test_extras.py")
        for file, before, addition in ADDITIONS:
            change(project / file, before, addition + before)
        for heading in ("Keep uploaded files", "Uploads over 1 MB"):
            follow(project, "docs/files-and-streams.md", heading)
        stack.up()
        stack.sql("CREATE DATABASE reports OWNER owner")
        Visitor().post("/uploads", files={"file": ("kept", b"before")}).raise_for_status()
        proxy = lines(stack, "nginx", "/uploads")[0]["remote_addr"]
        change(project / "docs/deploy.md", "192.0.2.1", proxy)
        follow(project, "docs/deploy.md", "HTTPS")
        run("bin/deploy", cwd=project)
        yield stack


class Visitor(requests.Session):
    """A client with its own cookies, and without the proxies of the environment."""

    def __init__(self, origin=f"http://127.0.0.1:{PORT}", certificate=None):
        super().__init__()
        self.origin, self.verify, self.trust_env = origin, certificate, False
        self.headers.update({"Connection": "close", "Referer": f"{origin}/login"})

    def request(self, method, path, **options):
        return super().request(method, urljoin(self.origin, path), timeout=60, **options)

    def token(self):
        return self.get("/login").text.partition('value="')[2].partition('"')[0]

    def log_in(self, name):
        self.post("/login", {"name": name, "csrf_token": self.token()}).raise_for_status()
        return self


@pytest.fixture(scope="module")
def tls(owned, tmp_path_factory):
    """Return the address and the certificate of a proxy for HTTPS."""
    with https(PORT, tmp_path_factory.mktemp("tls")) as proxy:
        yield proxy


def lines(stack, service, text):
    """Return the log lines with this text, such as the ID of a request."""
    wait_for(lambda: any(text in line for line in stack.logs(service)), 60)
    return [json.loads(line) for line in stack.logs(service) if text in line]


def query(*statements, hold=0, path="/query"):
    """Return the result of each statement in one GET request, and the seconds that it took."""
    response = Visitor().get(path, params={"q": statements, "hold": hold})
    response.raise_for_status()
    return response.json(), response.elapsed.total_seconds()


def test_form_is_accepted_over_https_with_the_token_of_its_session(tls):
    visitor, other = Visitor(*tls), Visitor(*tls)
    page = visitor.get("/login")
    cookie, *attributes = page.headers["Set-Cookie"].split("; ")
    refused = [{"name": "ann"}, {"name": "ann", "csrf_token": other.token()}]

    assert [visitor.post("/login", form).status_code for form in refused] == [400, 400]
    assert visitor.log_in("ann").get("/me").text.startswith("ann sees")
    assert cookie.startswith("__Host-session=")
    assert {*attributes} == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}
    assert "Strict-Transport-Security" in page.headers  # the service knows that it is HTTPS
    assert page.headers["Referrer-Policy"] == "strict-origin-when-cross-origin"


def test_rejected_request_with_an_untrusted_host_gets_its_own_status(owned):
    statuses = [
        Visitor().get("/members", headers={"Host": host, "Accept": accept}).status_code
        for host in ("evil.example", f"127.0.0.1:{PORT}")
        for accept in ("text/html", "application/json")
    ]

    assert statuses == [401] * 4


def test_users_see_only_their_own_page_with_cached_data(owned, tls):
    ann, ben, stranger = Visitor(*tls).log_in("ann"), Visitor(*tls).log_in("ben"), Visitor(*tls)

    for _ in range(5):
        assert [user.get("/me").text[:4] for user in (ann, ben)] == ["ann ", "ben "]
        responses = [stranger.get(path) for path in ("/notes", "/", "/query")]
        assert not any("Set-Cookie" in response.headers for response in responses)
    assert stranger.get("/me").url.endswith("/login?next=%2Fme")
    assert int(owned.inside("redis", "redis-cli", "dbsize")) > 0  # something is cached


def test_page_with_cached_data_differs_by_visitor_and_url(tls):
    visitors = Visitor(*tls), Visitor(*tls)
    forms = [{"csrf_token": v.get("/board/a").text.split()[0]} for v in visitors]
    posted = [v.post("/board/a", form).status_code for v, form in zip(visitors, forms, strict=True)]

    assert forms[0] != forms[1]
    assert posted == [200, 200]
    for host in ("localhost", "127.0.0.1"):
        for path in ("/board/a%3Fb=c", "/board/a?b=c"):
            page = Visitor(*tls).get(path, headers={"Host": host}).text
            assert page.split()[1] == f"https://{host}{path}"


def test_view_adds_a_field_to_the_log_line_of_its_request(owned, tls):
    request_id = Visitor(*tls).log_in("ann").get("/me").headers["X-Request-ID"]
    own, request = lines(owned, "web", request_id)

    assert own["message"] == "the page of ann"
    assert (request["user"], request["path"], request["status"]) == ("ann", "/me", 200)
    nginx = lines(owned, "nginx", request_id)[0]
    assert request["remote_addr"] == nginx["remote_addr"] == "127.0.0.1"


def peaks(stack):
    """Return the peak memory of the processes of web and nginx, in MB."""
    command = ["sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null | grep VmHWM | tr -dc '0-9\n'"]
    found = {name: stack.inside(name, *command).split() for name in ("web", "nginx")}
    return {name: sum(map(int, sizes)) // 1000 for name, sizes in found.items()}


@pytest.mark.parametrize("method", ["streamed", "multipart"])
def test_upload_takes_linear_time_and_little_memory(owned, method):
    def upload(size):
        body = {"data": bytes(size)} if method == "streamed" else {"files": {"file": bytes(size)}}
        response = Visitor().request("PUT" if "data" in body else "POST", "/uploads", **body)
        assert response.json() == [size]
        return response.elapsed.total_seconds()

    upload(MB)
    before = peaks(owned)
    times = zip(*[(upload(25 * MB), upload(100 * MB)) for _ in range(3)], strict=True)
    small, large = map(median, times)
    report(f"{method}: 25 MB in {small:.2f} s, 100 MB in {large:.2f} s; {before}, {peaks(owned)}")

    assert large <= 6 * small + 0.5  # 16 times as long would be quadratic
    assert all(peak < before[name] + 30 for name, peak in peaks(owned).items())


def test_file_survives_a_deployment(owned):
    assert owned.inside("web", "cat", "instance/kept", check=False) == "before"


def test_uploads_are_saved_and_restored_by_the_documented_commands(owned):
    save, restore = commands((owned.project / "docs/files-and-streams.md").read_text())
    owned.inside("web", "sh", "-c", "mkdir instance/a && echo one > 'instance/a/b c'")
    listing = ["find", "instance", "-type", "f", "-printf", "%M %U %G %s %TF %TH:%TM %p\\n"]
    before = sorted(owned.inside("web", *listing).splitlines())

    run("sh", "-c", save, cwd=owned.project)
    owned.inside("web", "rm", "-r", "instance/a", "instance/kept")
    run("sh", "-c", restore, cwd=owned.project)

    assert sorted(owned.inside("web", *listing).splitlines()) == before
    assert owned.inside("web", "cat", "instance/a/b c", "instance/kept") == "one\nbefore"


def test_events_are_not_buffered(owned):
    response = Visitor().get("/events", stream=True)
    received = [(time.monotonic(), line) for line in response.iter_lines(chunk_size=1) if line]

    assert received[-1][0] - received[0][0] > 0.2  # a buffer would send all at once
    assert [line for _, line in received] == [b"data: 0", b"data: 1", b"data: 2"]
    assert received[-1][0] - received[0][0] > 1.5
    for service in ("web", "nginx"):
        assert lines(owned, service, response.headers["X-Request-ID"])[0]["path"] == "/events"


def test_websocket_works_through_nginx(owned):
    client = simple_websocket.Client(f"ws://127.0.0.1:{PORT}/echo")
    for message in ("short", "x" * 100_000):
        client.send(message)
        assert client.receive(timeout=5) == message
    client.close()

    assert lines(owned, "web", "/echo")[0]["status"] == 200


LOCKS = ["SELECT {} FOR UPDATE", "select {} for update", "SELECT pg_advisory_xact_lock(7)"]


@pytest.mark.parametrize("lock", LOCKS)
def test_get_request_holds_its_lock_until_it_ends(owned, lock):
    owned.sql("INSERT INTO notes VALUES (1, 'a', 'b', now()) ON CONFLICT DO NOTHING")
    lock = lock.format("id FROM notes WHERE id = 1")
    with ThreadPoolExecutor() as pool:
        pool.submit(query, lock, hold=1.5)
        time.sleep(0.5)
        waited = query(lock)[1]

    assert query(lock)[1] < 0.5 < waited


def test_local_setting_applies_only_within_its_request(owned):
    read = "SELECT current_setting('app.user', true)"

    assert query("SELECT set_config('app.user', 'ann', true)", read)[0] == ["ann", "ann"]
    assert not any(query(read)[0][0] for _ in range(10))


def test_function_that_writes_in_a_get_is_rolled_back(owned):
    insert = "INSERT INTO notes VALUES (99, 'a', 'b', now()) RETURNING id"
    owned.sql(f"CREATE FUNCTION add_note() RETURNS int LANGUAGE sql AS $$ {insert} $$")

    assert query("SELECT add_note()")[0] == [99]
    assert owned.sql("SELECT count(*) FROM notes WHERE id = 99") == ["0"]


def test_query_can_exceed_the_timeout_without_delaying_others(owned):
    others = {path: lambda _, path=path: ("GET", path, None) for path in ("/notes", "/")}
    with Load(PORT, others, rate=30) as load:
        seconds = query("SET LOCAL statement_timeout = '30s'", "SELECT pg_sleep(10)")[1]

    assert seconds > 10
    assert set(load.statuses) == {200}, load


def test_connection_lost_after_the_last_query_fails_no_request(owned):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(query, "SELECT 7777", hold=1)
        time.sleep(0.5)
        find = "FROM pg_stat_activity WHERE query = 'SELECT 7777'"
        terminated = owned.sql(f"SELECT pg_terminate_backend(pid) {find}")

    assert terminated == ["t"]
    assert waiting.result()[0] == [7777]


def test_connection_listens_for_longer_than_the_timeouts(owned):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(Visitor().get, "/news")
        time.sleep(4.5)
        owned.sql("NOTIFY news, 'hello'")
        response = waiting.result()

    assert response.json() == ["hello"]
    assert response.elapsed.total_seconds() > 4


def test_thread_runs_in_each_worker_and_own_settings_are_read(owned):
    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(lambda _: Visitor().get("/status").json(), range(32)))
    counts = {s["pid"]: {t["counted"] for t in seen if t["pid"] == s["pid"]} for s in seen}

    assert [len(found) > 1 for found in counts.values()] == [True, True]
    assert seen[0]["settings"] == [["ann", "ben"], 25, None]


def test_second_database_is_used(owned):
    assert query("SELECT current_database()", path="/reports")[0] == ["reports"]


def test_log_has_no_warnings(owned):
    assert [line for line in owned.logs("web") if json.loads(line)["level"] != "INFO"] == []


def test_own_checks_pass_with_the_additions(owned):
    run("make", "check", cwd=owned.project)
