"""The recipe of Docker Swarm, on two engines in containers; its whole test runs with DEPLOYMENTS set."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from figures import report
from load import Load, ask
from projects import FULL, TEMPLATE, change, run
from recipes import Recipe, recipe
from stacks import free_containers, temporary_stack, wait_for

pytestmark = [
    pytest.mark.docker,
    pytest.mark.faults,
    pytest.mark.xdist_group("docker"),
    pytest.mark.weekly,
]
PEERS = TEMPLATE / "tests/peers"
PORTS = {"manager": 18801, "worker": 18802}
REQUESTS = {
    "page": lambda number: ("GET", "/", None),
    "notes": lambda number: ("GET", f"/notes?page={number % 3 + 1}", None),
    "write": lambda number: ("POST", "/notes", {"title": f"note {number}"}),
}


@dataclass
class Swarm:
    """A swarm of two nodes, and the recipe that is followed there."""

    engines: Path
    reading: Recipe
    building: str = ""

    def docker(self, *command, node="manager", check=True):
        done = run("docker", *command, cwd=self.engines, check=check, **self.on(node))
        return done.stdout.strip()

    def follow(self, heading, node=None):
        """Follow a section, with the engine of a node."""
        self.reading.environment = self.on(node) if node else {}
        return self.reading.follow(heading)

    def on(self, node):
        """Return the environment in which docker uses the engine of a node."""
        return {"DOCKER_HOST": f"unix://{self.engines}/{node}/docker.sock"}

    def build(self, version, file="shop/templates/home.html", before="</h1>", after="</h1>"):
        """Change a file, and follow the section that builds and pushes the images."""
        project = self.reading.project
        change(project / file, before, after)
        dotenv = project / ".env"
        dotenv.write_text(re.sub(r"(?m)^VERSION=.*", f"VERSION={version}", dotenv.read_text()))
        Recipe(project, self.building, {}).follow("Build and push")

    def images(self):
        """Return the tag of each running container of web."""
        listed = self.docker(
            "service", "ps", "shop_web", "--filter=desired-state=running", "--format=json"
        )
        tasks = [json.loads(line) for line in listed.splitlines()]
        return [
            t["Image"].rpartition(":")[2] for t in tasks if t["CurrentState"].startswith("Running")
        ]

    def containers(self):
        """Return the containers of web, by node."""
        listing = ("ps", "--quiet", "--filter=name=shop_web")
        return {node: self.docker(*listing, node=node).split() for node in PORTS}

    def errors(self):
        """Return the errors in the log of web in the last two minutes."""
        log = self.docker("service", "logs", "--raw", "--since=2m", "shop_web").splitlines()
        return [line[:500] for line in log if '"level": "ERROR"' in line]

    def load(self, node="manager"):
        return Load(PORTS[node], REQUESTS, threads=4, rate=30, keep_alive=True)


@pytest.fixture(scope="module")
def nodes(engine, tmp_path_factory):
    """Start two engines, and return the directory of their sockets."""
    engines = tmp_path_factory.mktemp("engines")
    nodes = {"COMPOSE_FILE": str(PEERS / "swarm.yaml"), "ENGINES": str(engines)}
    free_containers(PEERS, **nodes)
    try:
        run("docker", "compose", "up", "--detach", "--build", "--wait", cwd=PEERS, **nodes)
        yield engines
    finally:
        free_containers(PEERS, **nodes)
        run("sh", "-c", "docker images -q 'localhost:18840/*' | xargs -r docker rmi -f", cwd=PEERS)


@pytest.fixture(scope="module")
def swarm(nodes, cookies_session):
    """Follow the recipe up to the first deployment."""
    options = FULL | {"use_worker": True}
    with temporary_stack(cookies_session, options, "recipe-swarm", 18801, slug="shop") as stack:
        words = {"registry.example.com": "localhost:18840"}
        with recipe("swarm", stack.project, words) as reading:
            swarm = Swarm(nodes, reading)
            swarm.docker("swarm", "init")
            token = swarm.docker("swarm", "join-token", "--quiet", "worker")
            swarm.docker("swarm", "join", "--token", token, "manager:2377", node="worker")
            for image in ("redis:8.8", "postgres:18-trixie"):  # the nodes reach no other registry
                run("docker", "save", "--output=image.tar", image, cwd=nodes)
                for node in PORTS:
                    swarm.docker("load", "--input=image.tar", node=node)
            reading.follow()
            swarm.follow("Files")
            yield swarm


def test_stack_is_deployed(swarm):
    begun = time.monotonic()
    swarm.building = swarm.reading.text
    swarm.follow("Build and push")
    built = time.monotonic()
    swarm.follow("Deploy", "manager")
    report(f"built in {built - begun:.0f} s, deployed in {time.monotonic() - built:.0f} s")

    assert all(swarm.containers().values())  # on both nodes
    for port in PORTS.values():
        assert ask(port, "POST", "/notes", {"title": f"through {port}"}) == 201
    for node, containers in swarm.containers().items():
        [found, *_] = json.loads(swarm.docker("inspect", *containers, node=node))
        host = found["HostConfig"]
        assert (found["Config"]["User"], host["ReadonlyRootfs"]) == ("10001:10001", True)
        assert (host["CapDrop"], host["Memory"], host["PidsLimit"]) == (["ALL"], 512 << 20, 128)
        assert [m["Target"] for m in host["Mounts"]] == ["/tmp"]


def test_jobs_run(swarm):
    [web, *_] = swarm.containers()["manager"]
    celery = ("celery", "--app", "shop.make_celery", "call", "shop.tasks.example")
    swarm.docker("exec", web, *celery, '--args=["from web"]')

    log = ("service", "logs", "--raw", "shop_worker")
    seconds = wait_for(lambda: "example: from web" in swarm.docker(*log), 30)
    report(f"a job ran after {seconds:.1f} s")


def follow_under_load(swarm, heading):
    """Follow a section while both nodes get requests, and return those that failed."""
    with swarm.load() as load, swarm.load("worker") as other:
        begun = time.monotonic()
        swarm.follow(heading, "manager")
        seconds = time.monotonic() - begun
        time.sleep(3)
    report(f"{heading}, in {seconds:.0f} s: {load.outcome}; {other.outcome}; {load}")
    return load.failed + other.failed


def test_new_version_is_deployed_under_load(swarm):
    swarm.build(2, after="</h1><p>Second</p>")
    failed = follow_under_load(swarm, "A new version")

    assert swarm.images() == ["2"] * 3
    assert not failed, swarm.errors()


def test_killed_container_is_replaced(swarm):
    [victim, *_] = swarm.containers()["worker"]
    with swarm.load() as load:
        time.sleep(2)
        swarm.docker("kill", victim, node="worker")
        killed = time.monotonic()
        wait_for(lambda: len(swarm.images()) == 2, 30)
        wait_for(lambda: len(swarm.images()) == 3, 60)
        seconds = time.monotonic() - killed
        time.sleep(2)
    report(f"replaced {seconds:.0f} s after the kill: {load.outcome}; {load}")

    assert victim not in swarm.containers()["worker"]
    # Until nginx no longer uses the container; it repeats no request that changes data
    assert all(killed - load.begun - 1 < sent < killed - load.begun + 5 for *_, sent in load.failed)
    assert len(load.failed) < 15


def test_earlier_version_is_deployed_again(swarm):
    failed = follow_under_load(swarm, "Back to the earlier version")

    assert swarm.images() == ["1"] * 3
    assert not failed, swarm.errors()


def test_broken_version_is_rolled_back_by_itself(swarm):
    swarm.build(3, "config/gunicorn.py", "import gc", "import missing")
    deploy = "python3 bin/stack | docker stack deploy --detach=false --compose-file - shop"
    with swarm.load() as load, swarm.load("worker") as other:
        done = run(
            "sh", "-c", deploy, cwd=swarm.reading.project, check=False, **swarm.on("manager")
        )
        time.sleep(2)
    report(f"broken version: {load.outcome}; {other.outcome}; {done.stdout[-300:]!r}")

    assert swarm.images() == ["1"] * 3
    assert not load.failed + other.failed, swarm.errors()
