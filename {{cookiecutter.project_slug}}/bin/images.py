"""The images of other projects: those on which the Dockerfile builds, and those that Compose runs.

``docker compose build`` and ``up`` do not pull an image again that is on this machine. Without the
base images on this machine, nothing could be built while no registry responds.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from checks import FAILS_MEANWHILE
from commands import ROOT, StepError, read, say, uninterrupted
from services import PLACEHOLDERS, Container, compose, containers, up

# FROM image AS stage
FROM = re.compile(r"(?im)^FROM\s+(?:--\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?")


@contextmanager
def newest(*, of_all: bool) -> Iterator[None]:
    """Pull the newest images for the block; if it fails, use the former images again.

{% if cookiecutter.use_tls %}
    Without ``of_all``, only the base images are pulled, as far as registries respond, but not those
    of services that fail while they are replaced.
{% else %}
    Without ``of_all``, only the base images are pulled, as far as registries respond.
{% endif %}
    """
    former = {name: image["Id"] for name in bases() if (image := find(name))}
    if of_all:
        former |= {c["Config"]["Image"]: c["Image"] for c in replaced_in_place()}
    try:
        say("Pulling the images")
        pull_all() if of_all else pull_bases()
        yield
    except BaseException:
        with uninterrupted():
            put_back(former)
        raise
    delete(former)


def bases() -> dict[str, str]:
    """Return the images on which the Dockerfile builds, each with the name of its stage."""
    found = FROM.findall((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    stages = {stage for _, stage in found}
    return {name: stage for name, stage in found if name not in stages and "$" not in name}


def pull_all() -> None:
    """Pull the images on which the Dockerfile builds, and those that services run."""
    config = json.loads(read(*compose("config", "--format=json"), **PLACEHOLDERS))
    run = {service["image"] for service in config["services"].values() if "build" not in service}
    for name in sorted(run | set(bases())):
        pull(name)


def pull_bases() -> None:
    """Pull the base images, or say that a registry does not respond."""
    try:
{% if cookiecutter.use_tls %}
        for name, stage in bases().items():
            if stage not in FAILS_MEANWHILE:
                pull(name)
{% else %}
        for name in bases():
            pull(name)
{% endif %}
    except StepError as error:
        say(f"{error}\nThe images of this machine are used.")


def pull(name: str) -> None:
    """Pull the newest image of a tag, and say so if it is another one than before."""
    former = find(name)
    try:
        read("docker", "pull", "--quiet", name)
    except StepError as error:
        raise StepError(f"{name} cannot be pulled: {error}") from None
    new = find(name)
    if new != former:
        check_architecture(name, new, former)
        say(f"{name} has a new image, of {new['Created'][:10]}")


def find(name: str) -> dict[str, Any]:
    """Return what Docker knows of an image on this machine, or nothing."""
    with suppress(StepError):
        image: dict[str, Any] = json.loads(read("docker", "image", "inspect", name))[0]
        return image
    return {}


def check_architecture(name: str, new: dict[str, Any], former: dict[str, Any]) -> None:
    """Fail if an image is for other machines, and let its name be that of the former one again."""
    here = json.loads(read("docker", "version", "--format=json"))["Server"]["Arch"]
    if new["Architecture"] == here:
        return
    if former:
        read("docker", "tag", former["Id"], name)
    raise StepError(f"{name} is an image for {new['Architecture']}, but this machine is {here}.")


def put_back(former: dict[str, str]) -> None:
    """Use the former images again, in the containers too that had been replaced."""
    for name, identity in former.items():
        read("docker", "tag", identity, name)
    other = {
        service(container)
        for container in replaced_in_place()
        if container["Image"] != former.get(container["Config"]["Image"], container["Image"])
    }
    if other:
        say(f"The former images are used again: {', '.join(sorted(other))}")
        up(*other)


def delete(former: dict[str, str]) -> None:
    """Delete the images that have been replaced, unless something else uses them."""
    for name, identity in former.items():
        if find(name).get("Id") != identity:
            with suppress(StepError):
                read("docker", "image", "rm", identity)
    with suppress(StepError):  # what Docker has kept of builds, and not used for a month
        read("docker", "builder", "prune", "--force", "--filter=until=720h")


def replaced_in_place() -> list[Container]:
    """Return the containers of services that fail while they are replaced."""
    return [container for container in containers() if service(container) in FAILS_MEANWHILE]


def service(container: Container) -> str:
    """Return the service of a container."""
    name: str = container["Config"]["Labels"]["com.docker.compose.service"]
    return name
