"""`make update` and `make deploy` bring images up to date, from a registry that the tests fill.

The owner of the project has a registry of his own, with a second release of each image.
"""

import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from caddy import SETTINGS, Secure
from deploying import identities, unchanged
from figures import report
from load import Load, run_number
from projects import FULL, TEMPLATE, change, run
from stacks import stack_with, unique_name
from updating import Registry, absences, docker, events_of, identity

pytestmark = [pytest.mark.docker, pytest.mark.faults, pytest.mark.xdist_group("docker")]

OPTIONS = FULL | {"use_worker": True, "use_tls": True}
SERVICES = ("web", "worker", "beat", "postgres", "redis", "queue", "nginx", "caddy")
# The requests that may fail while a service is replaced, as docs/update.md says
FAILS_MEANWHILE = {
    "caddy": {"page", "note", "job"},
    "nginx": set(),
    "postgres": {"note"},
    "queue": {"job"},
    "redis": set(),
}


@pytest.fixture(scope="module")
def registry(engine):
    registry = Registry()
    yield registry
    registry.delete()


@pytest.fixture(scope="module")
def stack(registry, cookies_session):
    """Start a stack of the first releases."""
    arguments = (OPTIONS, "images", 18610, "jobs")
    options = {"settings": SETTINGS, "prepare": registry.take_over}
    try:
        with stack_with(cookies_session, *arguments, **options) as stack:
            yield stack
    finally:  # compose.override.yaml, with which the stack was deleted, has no such volume
        run("docker", "volume", "rm", "--force", f"{unique_name('images')}_caddy", cwd=TEMPLATE)


def releases(stack):
    """Return the release of the image of each container."""
    containers = stack.containers()
    return {name: int(containers[name]["Config"]["Labels"]["release"]) for name in SERVICES}


def secure(*_, timeout):
    return Secure("localhost", timeout=60)


def make(stack, target):
    """Run a command under load; return its exit code, its output, and the load."""
    title = f"run {next(run_number)}"
    requests = {
        "page": lambda number: ("GET", "/", None),
        "note": lambda number: ("POST", "/notes", {"title": f"{title}, {number}"}),
        "job": lambda number: ("POST", f"/jobs/record/{number}", {}),
    }
    with Load(443, requests, rate=30, keep_alive=True, connect=secure) as load:
        time.sleep(1)
        done = run("make", target, cwd=stack.project, check=False)
        time.sleep(2)
    report(f"make {target}: exit code {done.returncode}; {load.outcome}")
    return done.returncode, done.stdout, load


def failed_unexpectedly(load, absent):
    """Return the requests that failed although all services that they need were there."""
    offset = time.time() - time.monotonic()
    return [
        (kind, status, sent + offset)
        for kind, answers in load.answers.items()
        for sent, seconds, status in answers.seen
        if not 200 <= status < 300
        and not any(
            kind in FAILS_MEANWHILE.get(service, ())
            and begun - 1 <= sent + seconds + offset  # the event follows the signal
            and sent + offset <= ended + 1
            for service, (begun, ended) in absent.items()
        )
    ]


@pytest.mark.weekly
def test_deployment_builds_on_the_newest_base_images(stack, registry):
    registry.publish_all(2)

    code, output, load = make(stack, "deploy")

    assert code == 0, output
    new = {name for name, release in releases(stack).items() if release == 2}
    assert new == {"web", "worker", "beat"}
    assert f"{registry.images['python:3.14-slim-trixie']} has a new image" in output
    assert load.failed == []


def test_update_replaces_all_containers_and_says_what_fails_meanwhile(stack, registry):
    registry.publish_all(3)

    with events_of(stack) as events:
        code, output, load = make(stack, "update")

    assert code == 0, output
    absent = absences(events)
    seconds = {name: round(end - begin, 1) for name, (begin, end) in absent.items()}
    report(f"away, in seconds: {seconds}")
    assert set(releases(stack).values()) == {3}
    assert failed_unexpectedly(load, absent) == []
    for service in FAILS_MEANWHILE:
        assert re.search(rf"^{service} or its image has changed: it is replaced\.", output, re.M)
    for address in registry.images.values():
        assert f"{address} has a new image" in output
    assert former_images(stack, registry) == set()


def former_images(stack, registry):
    """Return the images from the registry that have no tag and no container any more."""
    images = json.loads(docker("image", "inspect", *registry.found()))
    untagged = {image["Id"] for image in images if not image["RepoTags"]}
    return untagged - {container["Image"] for container in stack.containers().values()}


@pytest.mark.weekly
def test_update_without_news_replaces_nothing(stack):
    before = identities(stack, *set(SERVICES) - {"web"})

    code, output, load = make(stack, "update")

    assert code == 0, output
    assert identities(stack, *before) == before
    assert load.failed == []


@contextmanager
def garbage():
    """Run a server that is no registry, and return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome to this hotel</html>")

        do_HEAD = do_GET  # noqa: N815
        log_message = lambda *_: None  # noqa: E731

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def refused(stack):
    """Return the last lines of an update that fails before it replaces anything."""
    before = identities(stack, *SERVICES)

    code, output, load = make(stack, "update")

    assert code != 0
    assert "Traceback" not in output
    assert load.failed == []
    assert identities(stack, *SERVICES) == before
    return output.split("\n\n")[-1]


def test_tag_that_does_not_exist_is_named(stack, registry):
    redis = registry.images["redis:8.8"]
    with unchanged(stack.project):
        change(stack.project / "compose.yaml", redis, f"{redis}.99")
        assert f"{redis}.99 cannot be pulled: " in refused(stack)


@pytest.mark.weekly
def test_registry_that_answers_garbage_is_named(stack, registry):
    with unchanged(stack.project), garbage() as host:
        change(stack.project / "compose.yaml", registry.images["redis:8.8"], f"{host}/redis:8.8")
        assert f"{host}/redis:8.8 cannot be pulled: " in refused(stack)


@pytest.mark.parametrize(
    "image",
    [pytest.param("redis:8.8", marks=pytest.mark.weekly), "python:3.14-slim-trixie"],
)
def test_image_for_another_architecture_is_refused(stack, registry, image):
    registry.publish(image, 4, start="scratch", platform="linux/arm64")
    former = identity(registry.images[image])

    problem = f"{registry.images[image]} is an image for arm64, but this machine is amd64."
    assert problem in refused(stack)
    assert identity(registry.images[image]) == former
    registry.publish(image, 3)


BROKEN = [
    ("nginxinc/nginx-unprivileged:1.30", "nginx", 'ENTRYPOINT ["false"]'),
    ("postgres:18-trixie", "postgres", 'ENTRYPOINT ["false"]'),
    ("redis:8.8", "redis", 'ENTRYPOINT ["false"]'),
    ("caddy:2.11", "caddy", "RUN rm /usr/bin/caddy"),
    ("python:3.14-slim-trixie", "web", "ENV PYTHONHOME=/nowhere"),
]


@pytest.mark.parametrize(
    ("image", "service", "mistake"),
    [BROKEN[0], *(pytest.param(*row, marks=pytest.mark.weekly) for row in BROKEN[1:])],
)
def test_image_that_does_not_start_is_replaced_by_the_former_one(
    stack, registry, image, service, mistake
):
    before = releases(stack)
    registry.publish(image, 5, mistake)

    code, output, _ = make(stack, "update")

    registry.publish(image, 3)
    assert code != 0
    assert "Traceback" not in output
    assert releases(stack) == before
    with Load(443, {"page": lambda number: ("GET", "/", None)}, connect=secure) as load:
        time.sleep(1)
    assert load.failed == []


@pytest.mark.weekly
def test_lost_registry_stops_an_update_but_no_deployment(stack, registry):
    docker("stop", "--time=1", registry.container)

    assert " cannot be pulled: " in refused(stack)
    code, output, load = make(stack, "deploy")

    assert code == 0, output
    assert "The images of this machine are used." in output
    assert load.failed == []
