"""The running stacks: what they answer, and what their images and logs contain."""

import http.client
import json
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from conftest import COMBINATIONS, ENVIRONMENT, name_of, run
from stacks import Stack, free_containers, generate, report, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]
FULL, BARE = COMBINATIONS[0], COMBINATIONS[-1]


def test_page_and_liveness_are_answered(stack):
    page, live = stack.get("/"), stack.get("/livez")

    assert page.status == 200
    assert page.getheader("Content-Type") == "text/html; charset=utf-8"
    assert "<h1>My Service</h1>" in page.text
    assert (live.status, json.loads(live.text)) == (200, {"status": "ok"})


def test_readiness_checks_what_was_chosen(stack):
    response = stack.get("/readyz")

    chosen = [name for name in ("postgres", "redis") if stack.options[f"use_{name}"]]
    assert response.status == 200
    assert json.loads(response.text) == {"status": "ok", "checks": dict.fromkeys(chosen, "ok")}


def test_one_port_is_published_and_only_on_this_machine(stack):
    containers = [
        json.loads(line) for line in stack.compose("ps", "--format=json").stdout.splitlines()
    ]

    published = {
        (port["URL"], port["PublishedPort"])
        for container in containers
        for port in container["Publishers"]
        if port["PublishedPort"]
    }
    assert published == {("127.0.0.1", stack.port)}


@pytest.mark.parametrize("path", ["/", "/nope"])
def test_response_has_security_headers_and_an_id(stack, path):
    response = stack.get(path)

    assert re.fullmatch("[0-9a-f]{32}", response.getheader("X-Request-ID"))
    assert "unsafe-inline" not in response.getheader("Content-Security-Policy")
    assert response.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert response.headers.get_all("X-Frame-Options") == ["DENY"]
    assert response.headers.get_all("Referrer-Policy") == ["strict-origin-when-cross-origin"]


def test_error_is_a_page_or_a_problem_document(stack):
    page, problem = stack.get("/nope"), stack.get("/nope", Accept="application/json")

    assert (page.status, problem.status) == (404, 404)
    assert page.getheader("Content-Type").startswith("text/html")
    assert problem.getheader("Content-Type") == "application/problem+json"


def test_client_cannot_choose_its_request_id(stack):
    assert stack.get("/", X_Request_ID="chosen-by-me").getheader("X-Request-ID") != "chosen-by-me"


def test_client_cannot_forge_where_it_comes_from(stack):
    forged = {
        "X_Forwarded_For": "6.6.6.6",
        "X_Forwarded_Host": "evil.example",
        "Forwarded": "for=6.6.6.6",
    }

    response = stack.get("/forged", X_Forwarded_Proto="https", **forged)

    number = response.getheader("X-Request-ID")
    [line] = [line for line in stack.logs("web") if number in line]
    assert response.status == 404
    assert response.getheader("Strict-Transport-Security") is None
    assert json.loads(line)["remote_addr"] != "6.6.6.6"


def test_unknown_host_is_refused(stack):
    assert stack.get("/", host="evil.example").status == 400


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_body_that_is_too_large_is_refused(stack, chunked):
    """The limit is one megabyte, and routes that read no body do not look at it."""
    path = "/notes" if stack.options["use_postgres"] else "/"
    body = b'"' + b"x" * 1_100_000 + b'"'
    fields = {"Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=10)
    with suppress(OSError):  # the server may not read all of it
        connection.request("POST", path, iter([body]) if chunked else body, fields)
    response = connection.getresponse()
    answer, kind = response.read(), response.getheader("Content-Type")
    connection.close()

    if not stack.options["use_postgres"] and not stack.options["use_nginx"]:
        assert response.status == 405
        return
    # Werkzeug cuts a body of unknown length at the limit, and what is left is no JSON.
    refused = {413} if stack.options["use_nginx"] or not chunked else {400, 413}
    assert response.status == json.loads(answer)["status"]
    assert response.status in refused
    assert kind == "application/problem+json"


def address_of_stylesheet(stack):
    return re.search(r'href="(/static/style\.css\?v=\w+)"', stack.get("/").text)[1]


def test_static_file_may_be_stored_by_browsers(stack):
    address = address_of_stylesheet(stack)

    response = stack.get(address)
    outdated = stack.get(re.sub(r"\w+$", "00000000", address))

    assert response.status == outdated.status == 200
    assert "max-age=31536000" in response.getheader("Cache-Control")
    assert outdated.getheader("Cache-Control") == "no-cache"
    assert response.headers.get_all("X-Content-Type-Options") == ["nosniff"]


def test_static_file_comes_from_nginx_in_its_own_version(stack):
    stack.needs("use_nginx")
    address = address_of_stylesheet(stack)
    plain = address.partition("?")[0]
    addresses = (address, plain, f"{plain}?v=00000000")

    numbers = [stack.get(each).getheader("X-Request-ID") for each in addresses]

    wait_for(lambda: any(numbers[-1] in line for line in stack.logs("nginx")), 5)
    logged = [json.loads(line) for line in stack.logs("nginx")]
    proxied = {line["request_id"]: line["upstream_status"] != "" for line in logged}
    assert [proxied[number] for number in numbers] == [False, False, True]


def test_notes_can_be_written_and_read(stack):
    if not stack.options["use_postgres"]:
        assert stack.get("/notes").status == 404
        return

    created = stack.get("/notes", "POST", body={"title": "Milk 🥛"})
    address = created.getheader("Location")
    listed, again = stack.get("/notes"), stack.get("/notes")
    deleted = stack.get(address, "DELETE")
    empty = stack.get("/notes")

    assert created.status == 201
    assert json.loads(listed.text)["items"] == [json.loads(created.text)]
    assert again.text == listed.text
    assert deleted.status == 204
    assert json.loads(empty.text)["items"] == []


def test_list_of_notes_is_cached_until_the_next_write(stack):
    stack.needs("use_redis")
    stack.needs("use_postgres")

    def titles():
        return [note["title"] for note in json.loads(stack.get("/notes").text)["items"]]

    stack.get("/notes", "POST", body={"title": "first"})
    before = titles()
    stack.sql("UPDATE notes SET title = 'changed'")  # which the service does not know of
    cached = titles()
    stack.get("/notes", "POST", body={"title": "second"})

    assert before == cached == ["first"]
    assert titles() == ["second", "changed"]


def test_redis_holds_what_is_cached(stack):
    stack.needs("use_redis")
    stack.get("/notes" if stack.options["use_postgres"] else "/")

    assert int(stack.inside("redis", "redis-cli", "DBSIZE")) > 0


def test_every_line_is_json_and_none_complains(stack):
    stack.get("/nope?secret=1")
    stack.get("/livez")
    services = ["web", *(["nginx"] if stack.options["use_nginx"] else [])]

    for service in services:
        lines = [json.loads(line) for line in stack.logs(service)]
        requests = [line for line in lines if "status" in line]
        assert {line["level"] for line in lines} == {"INFO"}
        assert all(
            re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", line["time"]) for line in lines
        )
        assert all({"logger", "message"} <= set(line) for line in lines)
        assert "/nope" in {line["path"] for line in requests}
        assert not {line["path"] for line in requests} & {"/livez", "/readyz"}
        for line in requests:
            assert {"request_id", "method", "path", "status", "duration_ms", "remote_addr"} <= set(
                line
            )
    assert "secret" not in "\n".join(stack.logs("web"))


def test_request_has_one_id_in_all_logs(stack):
    number = stack.get("/nope").getheader("X-Request-ID")

    for service in ["web", *(["nginx"] if stack.options["use_nginx"] else [])]:
        assert [
            json.loads(line)["request_id"] for line in stack.logs(service) if number in line
        ] == [number]


def test_image_contains_no_tools_and_belongs_to_root(stack):
    look = """
import importlib.util, os, pathlib, shutil
print([tool for tool in ("uv", "gcc", "cc", "make", "git", "curl") if shutil.which(tool)])
print([name for name in ("pytest", "mypy", "flask_debugtoolbar") if importlib.util.find_spec(name)])
print([str(p) for root in ("/app", "/opt/venv") for p in pathlib.Path(root).rglob("*")
       if p.lstat().st_uid or (os.access(p, os.W_OK) and not p.is_symlink())])
print(os.getuid() >= 10000, [str(p) for p in pathlib.Path("/app").rglob(".env*")])
"""

    done = stack.compose("exec", "-T", "web", "python", "-c", look)

    assert done.stdout.splitlines() == ["[]", "[]", "[]", "True []"]


def test_gunicorn_is_the_only_program_between_init_and_the_workers(stack):
    look = "cat /proc/[0-9]*/comm 2>/dev/null"  # one may have ended by then

    running = set(stack.inside("web", "sh", "-c", look, check=False).split()) - {"cat", "sh"}

    assert {"gunicorn"} <= running <= {"docker-init", "tini", "gunicorn", "python", "python3"}


def test_flood_is_answered_429(stack):
    """Files that do not exist count too, because the service answers them."""
    stack.needs("use_nginx")

    def kinds(path):
        with ThreadPoolExecutor(16) as pool:
            responses = list(pool.map(lambda _: stack.get(path), range(400)))
        return {(response.status, response.getheader("Content-Type")) for response in responses}

    few = {stack.get("/").status for _ in range(50)}
    missed, many = kinds("/static/none.css"), kinds("/")
    time.sleep(3)  # until the limit is as before

    page, problem = "text/html; charset=utf-8", "application/problem+json"
    assert few == {200}
    assert missed == {(404, page), (429, problem)}
    assert many == {(200, page), (429, problem)}


def test_web_that_was_recreated_is_found_again(stack):
    stack.needs("use_nginx")
    stack.compose("up", "--detach", "--force-recreate", "--no-deps", "--wait", "web")

    deadline = time.monotonic() + 10
    while stack.get("/livez").status != 200 and time.monotonic() < deadline:
        time.sleep(0.2)

    assert {stack.get("/").status for _ in range(20)} == {200}


def test_service_stops_cleanly(stack):
    stack.compose("stop", "web")

    [container] = json.loads(
        run(
            "docker", "inspect", stack.compose("ps", "-aq", "web").stdout.strip(), cwd=stack.project
        ).stdout
    )
    assert container["State"]["ExitCode"] == 0


@pytest.fixture(scope="module")
def full(engine, cookies_session):
    """A project with all services, for tests that change its files."""
    project = generate(cookies_session, FULL, "shop", 8183)
    yield project
    free_containers(project)


def test_tests_pass_against_the_real_servers(full):
    done = run("make", "test-stack", cwd=full)

    # The one that compares settings with compose.yaml, which is not in the image
    assert re.search(r"\d+ passed, 1 skipped in", done.stdout)


def test_build_without_a_lock_stops_with_a_sentence(full, tmp_path):
    project = tmp_path / "copy"
    shutil.copytree(full, project, ignore=shutil.ignore_patterns("uv.lock", ".venv"))

    production = run("docker", "build", "--progress=plain", ".", cwd=project, check=False)
    development = run("docker", "build", "--quiet", "--target=dev", ".", cwd=project)

    assert production.returncode != 0
    assert "Unable to find lockfile" in production.stdout
    assert development.stdout.startswith("sha256:")


def test_build_with_a_stale_lock_stops_with_a_sentence(full, tmp_path):
    project = tmp_path / "copy"
    shutil.copytree(full, project, ignore=shutil.ignore_patterns(".venv"))
    toml = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(toml.replace('"environs>', '"tomli",\n    "environs>'))

    done = run("docker", "build", "--progress=plain", ".", cwd=project, check=False)

    assert done.returncode != 0
    assert "needs to be updated" in done.stdout


def test_migration_that_fails_keeps_the_service_from_starting(full):
    migration = full / "shop/migrations/0002_wrong.py"
    first = (full / "shop/migrations/0001_create_notes.py").read_text()
    wrong = first.replace('revision = "0001"', 'revision = "0002"', 1)
    wrong = re.sub("^branch_labels.*", "branch_labels = None", wrong, flags=re.M)
    # It creates the table again.
    migration.write_text(wrong.replace("down_revision = None", 'down_revision = "0001"'))

    up = run(
        *"docker compose -f compose.yaml up --detach --build --wait".split(), cwd=full, check=False
    )
    running = run(*"docker compose -f compose.yaml ps --services".split(), cwd=full).stdout.split()
    logs = run(
        *"docker compose -f compose.yaml logs --no-log-prefix migrate".split(), cwd=full
    ).stdout
    migration.unlink()
    free_containers(full)

    assert up.returncode != 0
    assert "web" not in running
    assert 'relation "notes" already exists' in logs[-600:]


@pytest.mark.parametrize(
    "options", [FULL, BARE, BARE | {"use_nginx": True}], ids=["full", "bare", "nginx"]
)
def test_start_that_fails_says_why_and_the_next_one_works(engine, cookies_session, options):
    project = generate(cookies_session, options, "wrong", 8184)
    dotenv = project / ".env"
    good = dotenv.read_text()

    try:
        dotenv.write_text(good.replace("localhost,", "http://localhost,"))
        failed = [run("make", way, cwd=project, check=False) for way in ("up", "deploy")]
        dotenv.write_text(good)
        run("make", "deploy", cwd=project)
        answer = Stack(project, options, 8184).get("/livez")
    finally:
        free_containers(project)

    for done in failed:
        assert done.returncode != 0
        assert "TRUSTED_HOSTS: Must be like example.com" in done.stdout
        assert "Traceback" not in done.stdout
    assert answer.status == 200


@pytest.fixture(scope="module", params=[FULL, BARE], ids=name_of)
def dev(request, engine, cookies_session):
    """The stack for development, with `docker compose watch`."""
    options = request.param
    project = generate(cookies_session, options, "user", 8185)  # a word of SQL
    try:
        begun = time.monotonic()
        run("make", "up", cwd=project)
        report(f"make up, {name_of(options)}: healthy after {time.monotonic() - begun:.1f} s")
        with watching(project):
            yield Stack(project, options, 8185)
    finally:
        free_containers(project)


@contextmanager
def watching(project):
    """Copy every file that is saved into the container."""
    command = "docker compose watch --no-up".split()
    with subprocess.Popen(
        command, cwd=project, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as watch:
        time.sleep(3)
        yield
        watch.kill()


def change(dev, path, old, new):
    file = dev.project / path.replace("PACKAGE", dev.project.name)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_development_shows_the_toolbar(dev):
    assert 'id="flDebug"' in dev.get("/", Accept="text/html").text


@pytest.mark.parametrize(
    ("path", "old", "address"),
    [
        ("PACKAGE/templates/home.html", "Routes", "/"),
        ("PACKAGE/static/style.css", "44rem", "/static/style.css"),
        ("PACKAGE/errors.py", "about:blank", "/nope"),
    ],
    ids=["template", "stylesheet", "python"],
)
def test_saved_file_counts_within_four_seconds(dev, path, old, address):
    seconds = []
    for new in ("first-change", "second-change"):
        change(dev, path, old, new)
        took = wait_for(lambda new=new: new in dev.get(address, Accept="application/json").text, 10)
        seconds.append(round(took, 1))
        old = new
        time.sleep(1.1)  # Compose copies the times of files in whole seconds

    report(f"{path}: counts after {seconds} s")
    assert max(seconds) <= 4


def test_syntax_error_is_survived(dev):
    change(
        dev,
        "PACKAGE/home.py",
        'bp = Blueprint("home", __name__)',
        'bp = Blueprint("home", __name__',
    )
    wait_for(lambda: dev.get("/").status == 500, 10)

    change(
        dev,
        "PACKAGE/home.py",
        'bp = Blueprint("home", __name__',
        'bp = Blueprint("home", __name__)',
    )

    wait_for(lambda: dev.get("/").status == 200, 10)
