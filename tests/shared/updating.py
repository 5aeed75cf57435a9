"""A registry with releases of the images of a project, and how long services are away."""

import json
import re
import subprocess
import threading
from contextlib import contextmanager

from projects import TEMPLATE, run
from stacks import unique_name

REFERENCE = re.compile(r"^(FROM |\s+image: )([\w./-]+:[\w.-]+)", re.MULTILINE)


def docker(*arguments, **options):
    return run("docker", *arguments, cwd=TEMPLATE, **options).stdout.strip()


def identity(image):
    """Return the ID of an image on this machine, or nothing."""
    command = ("docker", "image", "inspect", "--format={{.Id}}", image)
    found = run(*command, cwd=TEMPLATE, check=False)
    return "" if found.returncode else found.stdout.strip()


def build(image, instructions, *options):
    command = ["docker", "build", "--quiet", f"--tag={image}", *options, "-"]
    subprocess.run(command, input=instructions.encode(), check=True, capture_output=True)


class Registry:
    """A registry in a container, and the addresses of the images in it."""

    def __init__(self):
        self.container = unique_name("registry")
        docker("rm", "--force", "--volumes", self.container)
        publish = "--publish=127.0.0.1::5000"
        docker("run", "--detach", f"--name={self.container}", publish, "registry:3")
        self.host = docker("port", self.container, "5000")
        self.images = {}

    def take_over(self, project):
        """Let a project use this registry, which gets a first release of each image."""
        for name in ("Dockerfile", "compose.yaml"):
            file = project / name
            for _, image in REFERENCE.findall(file.read_text()):
                if image not in self.images:
                    self.images[image] = f"{self.host}/{image}"
                    self.publish(image, 1)
            file.write_text(REFERENCE.sub(lambda m: m[1] + self.images[m[2]], file.read_text()))

    def publish(self, image, release, instructions="", start=None, platform="linux/amd64"):
        """Publish a release of an image, but do not let this machine use it yet."""
        address = self.images[image]
        former = identity(address)
        labels = f"LABEL release={release} registry={self.host} image={image}"
        text = f"FROM {start or image}\n{labels}\n{instructions}"
        build(address, text, f"--platform={platform}")
        docker("push", "--quiet", address)
        published = identity(address)
        if former and published != former:
            docker("tag", former, address)
            docker("image", "rm", published)

    def publish_all(self, release):
        for image in self.images:
            self.publish(image, release)

    def delete(self):
        docker("rm", "--force", "--volumes", self.container)
        if left := self.found():
            docker("image", "rm", "--force", *left)

    def found(self):
        """Return the IDs of the images on this machine that came from here."""
        options = ["--quiet", "--no-trunc", f"--filter=label=registry={self.host}"]
        return set(docker("images", *options).split())


@contextmanager
def events_of(stack):
    """Collect what happens to containers during the block: later, Docker knows 256 events only."""
    filters = ["type=container", f"label=com.docker.compose.project={stack.name}"]
    command = ["docker", "events", *(f"--filter={one}" for one in filters), "--format=json"]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        reader = threading.Thread(target=lambda: lines.extend(program.stdout))
        reader.start()
        try:
            yield lines
        finally:
            program.terminate()
            reader.join()


def absences(events):
    """Return for each replaced service when it was told to stop, and when it was healthy again."""
    begun, ended = {}, {}
    for event in map(json.loads, events):
        labels, moment = event["Actor"]["Attributes"], event["timeNano"] / 1e9
        service, action = labels["com.docker.compose.service"], event["Action"]
        if labels["com.docker.compose.oneoff"] != "False":
            continue
        if action == "kill":
            begun.setdefault(service, moment)
        elif action == "health_status: healthy" and service in begun:
            ended[service] = moment
    return {service: (begun[service], ended[service]) for service in begun if service in ended}
