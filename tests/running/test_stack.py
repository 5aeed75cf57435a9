"""The running stacks: their responses, images and logs."""

import http.client
import json
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from html import unescape
from urllib.parse import urljoin

import pytest
from figures import report
from projects import (
    BARE,
    COMBINATIONS,
    ENVIRONMENT,
    FULL,
    change,
    name_of,
    run,
)
from stacks import SLUG, stylesheet, temporary_stack, unique_name, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("combinations")]


def test_page_and_liveness_return_200(stack):
    page, live = stack.get("/"), stack.get("/livez")

    assert page.status == 200
    assert page.getheader("Content-Type") == "text/html; charset=utf-8"
    assert "<h1>My Service</h1>" in page.text
    assert (live.status, json.loads(live.text)) == (200, {"status": "ok"})


def test_readiness_checks_the_chosen_services(stack):
    response = stack.get("/readyz")

    checks = {"use_postgres": "postgres", "use_redis": "redis", "use_worker": "queue"}
    chosen = [name for option, name in checks.items() if stack.options[option]]
    assert response.status == 200
    assert json.loads(response.text) == {"status": "ok", "checks": dict.fromkeys(chosen, "ok")}


@pytest.mark.parametrize("path", ["/", "/nope"])
def test_response_has_security_headers_and_an_id(stack, path):
    response = stack.get(path)

    assert re.fullmatch("[0-9a-f]{32}", response.getheader("X-Request-ID"))
    assert "unsafe-inline" not in response.getheader("Content-Security-Policy")
    assert response.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert response.headers.get_all("X-Frame-Options") == ["DENY"]
    assert response.headers.get_all("Referrer-Policy") == ["strict-origin-when-cross-origin"]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_body_that_is_too_large_is_rejected(stack, chunked):
    """The limit is one megabyte; routes that do not read the body do not check it."""
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
    # Werkzeug truncates a body of unknown length at the limit, and the rest is invalid JSON.
    refused = {413} if stack.options["use_nginx"] or not chunked else {400, 413}
    assert response.status == json.loads(answer)["status"]
    assert response.status in refused
    assert kind == "application/problem+json"


def test_browsers_can_cache_static_files_with_their_version(stack):
    current, *others = stylesheet(stack)
    neighbour = urljoin(current, "favicon.svg")  # as url(favicon.svg) in the stylesheet

    for path in (current, neighbour):
        assert stack.get(path).status == 200
        cached = stack.get(path).getheader("Cache-Control")
        assert cached == "public, max-age=31536000, immutable"
    for path in others:
        response = stack.get(path)
        assert response.status == 200
        assert response.getheader("Cache-Control") == "no-cache"
        assert response.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert stack.get(current.replace("style", "none")).status == 404


def test_nginx_stores_static_files_of_the_current_version(stack):
    stack.needs("use_nginx")
    current, *others = stylesheet(stack)
    stack.get(current)

    numbers = [stack.get(path).getheader("X-Request-ID") for path in (current, *others)]

    wait_for(lambda: any(numbers[-1] in line for line in stack.logs("nginx")), 60)
    logged = [json.loads(line) for line in stack.logs("nginx")]
    asked = {line["request_id"]: line["upstream_status"] for line in logged}
    assert [asked[number] for number in numbers] == ["", "200", "200"]


@pytest.mark.parametrize(
    "spelled",
    [
        lambda path: f"{path}?a=1",
        lambda path: path.replace("style", "%73tyle"),
        lambda path: path.replace("/v", "/./v"),
    ],
    ids=["with a query", "encoded", "with a point"],
)
def test_other_spellings_of_a_stored_file_do_not_reach_the_service(stack, spelled):
    stack.needs("use_nginx")
    current = stylesheet(stack)[0]
    stack.get(current)

    number = stack.get(spelled(current)).getheader("X-Request-ID")

    wait_for(lambda: any(number in line for line in stack.logs("nginx")), 60)
    [line] = [line for line in stack.logs("nginx") if number in line]
    assert json.loads(line)["upstream_status"] == ""


def test_static_files_are_compressed(stack):
    path = stylesheet(stack)[0]
    file = f"user/static/{path.rpartition('/')[2]}.gz"
    size = stack.inside("web", "wc", "-c", file).split()[0]

    plain, compressed = stack.get(path), stack.get(path, "HEAD", Accept_Encoding="gzip")

    assert plain.getheader("Content-Encoding") is None
    assert "--accent" in plain.text
    assert compressed.getheader("Content-Encoding") == "gzip"
    assert compressed.getheader("Content-Length") == size
    assert plain.headers.get_all("Vary") == ["Accept-Encoding"]
    assert compressed.headers.get_all("Vary") == ["Accept-Encoding"]


def test_static_files_have_security_headers_and_are_validated(stack):
    path = stylesheet(stack)[0]

    whole = stack.get(path, Accept_Encoding="gzip")
    again = stack.get(path, If_None_Match=whole.getheader("ETag"), Accept_Encoding="gzip")

    for name in ("Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options"):
        assert len(whole.headers.get_all(name)) == 1
    assert again.status == 304


CDN = """
server {
    listen 8080;
    location / { proxy_pass http://origin; proxy_set_header Host localhost; }
}
"""


@pytest.mark.parametrize(
    "with_nginx",
    [pytest.param(True, id="nginx"), pytest.param(False, id="direct", marks=pytest.mark.weekly)],
)
def test_cdn_serves_static_files(engine, cookies_session, tmp_path, with_nginx):
    """Another nginx stands for the CDN."""
    host, origin = "http://127.0.0.1:8243", "nginx:8080" if with_nginx else "web:8000"
    tmp_path.chmod(0o755)
    (tmp_path / "default.conf").write_text(CDN.replace("origin", origin))
    with temporary_stack(cookies_session, BARE | {"use_nginx": with_nginx}, "cdn", 8235) as stack:
        with (stack.project / ".env").open("a") as settings:
            settings.write(f"STATIC_HOST={host}\n")
        stack.up()
        options = [
            "--rm",
            "--detach",
            f"--network={stack.name}_front",
            "--publish=127.0.0.1:8243:8080",
        ]
        mount = f"--volume={tmp_path}/default.conf:/etc/nginx/conf.d/default.conf:ro"
        image = "nginxinc/nginx-unprivileged:1.30"
        run("docker", "run", *options, mount, f"--name={unique_name('cdn')}", image, cwd=tmp_path)
        try:
            page = stack.get("/")
            urls = re.findall(r'href="([^"]*/static/[^"]+)"', page.text)
            cdn = replace(stack, port=8243)
            wait_for(lambda: cdn.get("/livez").status == 200, 60)
            files = [cdn.get(url.removeprefix(host), Origin="http://localhost") for url in urls]
        finally:
            run("docker", "stop", "--time=1", unique_name("cdn"), cwd=tmp_path)

    assert len(urls) == 2
    assert all(url.startswith(f"{host}/static/v") for url in urls)
    policy = page.getheader("Content-Security-Policy").split("; ")
    assert policy[0] == f"default-src 'self' {host}"
    for file in files:
        assert file.status == 200
        assert file.getheader("Access-Control-Allow-Origin") == "*"
        assert file.getheader("Cross-Origin-Resource-Policy") == "cross-origin"
        assert file.getheader("Cache-Control") == "public, max-age=31536000, immutable"


def test_notes_can_be_written_and_read(stack):
    if not stack.options["use_postgres"]:
        assert stack.get("/notes").status == 404
        return

    created = stack.get("/notes", "POST", body={"title": "Milk 🥛"})
    address, note = created.getheader("Location"), json.loads(created.text)
    listed, again = stack.get("/notes"), stack.get("/notes")
    deleted = stack.get(address, "DELETE")
    empty = stack.get("/notes")

    assert created.status == 201
    assert json.loads(listed.text)["items"] == [note]
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
    stack.sql("UPDATE notes SET title = 'changed'")  # without an invalidation
    cached = titles()
    stack.get("/notes", "POST", body={"title": "second"})

    assert before == cached == ["first"]
    assert titles() == ["second", "changed"]


def test_cached_data_is_in_redis(stack):
    stack.needs("use_redis")
    stack.get("/notes" if stack.options["use_postgres"] else "/")

    assert int(stack.inside("redis", "redis-cli", "DBSIZE")) > 0


def test_job_runs_in_the_worker(stack):
    stack.needs("use_worker")
    celery = ["celery", "--app", f"{SLUG}.make_celery", "call", f"{SLUG}.tasks.example"]

    stack.inside("web", *celery, '--args=["from web"]')

    wait_for(lambda: "example: from web" in "\n".join(stack.logs("worker")), 60)


def test_first_page_shows_no_command_in_production(stack):
    assert "<code>" not in stack.get("/").text


def test_log_lines_are_json_without_warnings(stack):
    stack.get("/nope?secret=1")
    stack.get("/livez")
    services = ["web", *(["nginx"] if stack.options["use_nginx"] else [])]
    if stack.options["use_worker"]:
        assert {json.loads(line)["level"] for line in stack.logs("worker")} == {"INFO"}
        assert {json.loads(line)["level"] for line in stack.logs("beat")} == {"INFO"}
    fields = {"request_id", "method", "path", "status", "duration_ms", "remote_addr"}

    for service in services:
        lines = [json.loads(line) for line in stack.logs(service)]
        requests = [line for line in lines if "status" in line]
        assert {line["level"] for line in lines} == {"INFO"}
        times = [line["time"] for line in lines]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", time) for time in times)
        assert all({"logger", "message"} <= set(line) for line in lines)
        assert "/nope" in {line["path"] for line in requests}
        assert not {line["path"] for line in requests} & {"/livez", "/readyz"}
        assert all(fields <= set(line) for line in requests)
    assert "secret" not in "\n".join(stack.logs("web"))


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
    look = "cat /proc/[0-9]*/comm 2>/dev/null"  # a process may have exited meanwhile

    running = set(stack.inside("web", "sh", "-c", look, check=False).split()) - {"cat", "sh"}

    assert {"gunicorn"} <= running <= {"docker-init", "tini", "gunicorn", "python", "python3"}


def load_configuration(stack, *options):
    """Let nginx load its configuration, with other settings if ``options`` has some."""
    stack.compose("run", "--rm", "--no-deps", *options, "nginx-config")
    stack.compose("exec", "nginx", "sh", "/nginx/reload.sh", "--wait")


@pytest.mark.parametrize("stack", COMBINATIONS[:1], indirect=True, ids=name_of)
def test_requests_above_the_rate_limit_get_429(stack):
    """Missing static files have a limit of their own; those in the cache of nginx have none."""

    def kinds(path, accept="*/*"):
        with ThreadPoolExecutor(16) as pool:
            responses = list(pool.map(lambda _: stack.get(path, Accept=accept), range(400)))
        return {(response.status, response.getheader("Content-Type")) for response in responses}

    few = {stack.get("/").status for _ in range(50)}
    load_configuration(stack, "--env=RATE_LIMIT=5r/s")  # a busy machine exceeds this, too
    stored = {status for status, _ in kinds(stylesheet(stack)[0])}
    missed, many, people = kinds("/static/none.css"), kinds("/"), kinds("/", "text/html")
    load_configuration(stack)
    time.sleep(3)  # until the rate limit allows requests again

    page, problem = "text/html; charset=utf-8", "application/problem+json"
    assert few == stored == {200}
    assert missed == {(404, page), (429, problem)}
    assert many == {(200, page), (429, problem)}
    assert (429, page) in people <= {(200, page), (429, page)}  # the limit is already exceeded


def test_build_without_a_lock_fails_with_a_message(engine, bake):
    project = bake()
    (project / "uv.lock").unlink()

    production = run("docker", "build", "--progress=plain", ".", cwd=project, check=False)
    development = run("docker", "build", "--quiet", "--target=dev", ".", cwd=project)

    assert production.returncode != 0
    assert "Unable to find lockfile" in production.stdout
    assert development.stdout.startswith("sha256:")


def test_build_with_a_stale_lock_fails_with_a_message(engine, bake):
    project = bake()
    toml = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(toml.replace('"environs>', '"tomli",\n    "environs>'))

    done = run("docker", "build", "--progress=plain", ".", cwd=project, check=False)

    assert done.returncode != 0
    assert "needs to be updated" in done.stdout


NGINX = BARE | {"use_nginx": True}


@pytest.mark.parametrize("way", ["up", "deploy"])
def test_missing_secret_of_the_owner_is_one_sentence(engine, bake, way):
    project = bake(**BARE)
    secret = "      PARTNER_KEY: ${PARTNER_KEY:?run make env}\n"
    change(project / "compose.yaml", "      STATIC_HOST:", f"{secret}      STATIC_HOST:")

    done = run("make", way, cwd=project, check=False)

    assert done.returncode != 0
    assert "required variable PARTNER_KEY is missing a value: run make env" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.weekly
@pytest.mark.parametrize("way", ["up", "deploy"])
@pytest.mark.parametrize("options", [FULL, BARE, NGINX], ids=["full", "bare", "nginx"])
def test_failed_start_prints_the_cause_and_can_be_repeated(engine, cookies_session, options, way):
    with temporary_stack(cookies_session, options, "wrong", 8184) as stack:
        dotenv = stack.project / ".env"
        good = dotenv.read_text()
        dotenv.write_text(good.replace("localhost,", "http://localhost,"))
        failed = run("make", way, cwd=stack.project, check=False)
        running = stack.compose("ps", "--services").stdout.split()
        dotenv.write_text(good)
        run("make", way, cwd=stack.project)
        assert stack.get("/livez").status == 200

    assert failed.returncode != 0
    assert "TRUSTED_HOSTS: Must be like example.com" in failed.stdout
    assert "Traceback" not in failed.stdout
    assert "web" not in running or not options["use_postgres"]  # it starts after the migrations


@pytest.fixture(scope="module")
def dev(engine, cookies_session):
    """Start the stack for development, with `docker compose watch`."""
    with temporary_stack(cookies_session, FULL | {"use_worker": True}, "dev", 8185) as stack:
        begun = time.monotonic()
        run("make", "up", cwd=stack.project)
        report(f"make up: healthy after {time.monotonic() - begun:.1f} s")
        with watching(stack.project):
            yield stack


@contextmanager
def watching(project):
    """Copy each saved file into the container; Docker's program is started again if it fails."""
    log = project.parent / "watch.log"
    command = ["sh", "-c", "until docker compose watch --no-up; do sleep 1; done"]
    # Compose stores its process ID there, and refuses to start while that number is in use.
    environment = ENVIRONMENT | {"XDG_RUNTIME_DIR": str(project.parent)}
    options = {"cwd": project, "env": environment, "start_new_session": True}
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **options) as watch,
    ):
        try:
            wait_for(lambda: "Watch enabled" in log.read_text(), 120)
            yield
        finally:
            os.killpg(watch.pid, signal.SIGKILL)
            report(f"docker compose watch has started {log.read_text().count('enabled')} times")


def test_development_shows_the_toolbar(dev):
    assert 'id="flDebug"' in dev.get("/", Accept="text/html").text


def test_tests_pass_with_the_real_servers(dev):
    done = run("make", "test-stack", cwd=dev.project)

    # The skipped test needs compose.yaml, which is not in the image.
    assert re.search(r"\d+ passed, 1 skipped in", done.stdout)


@pytest.mark.parametrize(
    ("path", "old", "address"),
    [
        ("templates/home.html", "Routes", "/"),
        ("static/style.css", "47rem", "/static/style.css"),
        ("core/errors.py", "about:blank", "/nope"),
    ],
    ids=["template", "stylesheet", "python"],
)
def test_saved_file_takes_effect_in_seconds(dev, path, old, address):
    seconds = []
    for new in ("first-change", "second-change", "third-change"):
        change(dev.project / SLUG / path, old, new)
        took = wait_for(lambda new=new: new in dev.get(address, Accept="application/json").text, 60)
        seconds.append(round(took, 1))
        old = new
        time.sleep(1.1)  # Compose copies the modification time in whole seconds

    report(f"{path}: counts after {seconds} s")
    assert min(seconds) <= 20  # without the file watcher, it never counts


def test_saved_task_takes_effect_in_the_worker(dev):
    change(dev.project / SLUG / "tasks.py", "example: %s", "changed: %s")
    time.sleep(3)  # Compose restarts the worker
    [command] = re.findall(r"<code>\s*(docker .+?)</code>", dev.get("/").text, re.DOTALL)
    command = " ".join(unescape(command).split())
    run("sh", "-c", command, cwd=dev.project, COMPOSE_FILE="compose.yaml:compose.override.yaml")

    took = wait_for(lambda: "changed: Hello" in "\n".join(dev.logs("worker")), 30)
    report(f"tasks.py: counts after {3 + took:.1f} s")


MISTAKES = {
    "home.py": ("    return render", '    raise OSError("a")\n    return render', "OSError: a"),
    "templates/home.html": ("{% block main %}", "{% block main %}{% a %}", "unknown tag 'a'"),
}


@pytest.mark.weekly
@pytest.mark.parametrize("path", MISTAKES)
def test_traceback_is_in_the_log(dev, path):
    file, (old, new, cause) = dev.project / SLUG / path, MISTAKES[path]
    change(file, old, new)
    traceback = rf"Traceback \(most recent call last\):\n(  .*\n)+.*{cause}"
    wait_for(lambda: dev.get("/").status == 500, 60)
    wait_for(lambda: re.search(traceback, "\n".join(dev.logs("web", "--tail=200"))), 20)
    time.sleep(1.1)  # see above
    change(file, new, old)
    wait_for(lambda: dev.get("/").status == 200, 60)


def test_service_recovers_from_a_syntax_error(dev):
    home, begun = dev.project / SLUG / "home.py", 'bp = Blueprint("home", __name__'
    change(home, f"{begun})", begun)
    wait_for(lambda: dev.get("/").status == 500, 60)
    time.sleep(1.1)  # see above

    change(home, begun, f"{begun})")

    wait_for(lambda: dev.get("/").status == 200, 60)


@pytest.mark.weekly
@pytest.mark.parametrize("mode", ["go-rwx", "o-rwx"], ids=["umask 077", "umask 027"])
def test_checkout_that_only_its_owner_can_read_is_deployed(engine, cookies_session, mode):
    """Its modes are those of the files in the image, and of the directories that are mounted."""
    with temporary_stack(cookies_session, FULL, "umask", 8242) as stack:
        run("chmod", "-R", mode, ".", cwd=stack.project)
        run("make", "deploy", cwd=stack.project)

        assert stack.get("/notes").status == 200
        assert stack.get(stylesheet(stack)[0]).status == 200
