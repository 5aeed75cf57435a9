"""Replace the containers of web, while nginx sends requests only to those that respond."""

import time
from contextlib import suppress

from commands import StepError, read, say, show, uninterrupted
from services import (
    Container,
    compose,
    containers,
    has_failed,
    is_running,
    once,
    problem,
{% if cookiecutter.use_worker %}
    replace_queue,
{% endif %}
    up,
)


class Replacement:
    """New containers of web instead of the old ones."""

    def __init__(self) -> None:
        """Nothing is replaced yet."""
        self.old: list[Container] = []
        self.outcome = "Nothing was changed."
        self.is_complete = False

    def find_old(self) -> None:
        """Find the containers that run."""
        self.old = [container for container in containers("web") if is_running(container)]
        self.outcome = "The old version keeps running." if self.old else "No version is running."

    def run(self, replicas: int, replaced: list[str]) -> None:
        """Start new containers, let nginx use only these, and stop the old ones.

        ``replaced`` are the other services that Compose will replace.
        """
        nginx_changes = "nginx" in replaced
        remove(self.new())  # those of a deployment that was killed, and those that have stopped
        try:
            if not nginx_changes:  # a new nginx reads the addresses when it starts
                use([container for container in self.old if is_healthy(container)])
            self.start(replicas)
{% if cookiecutter.use_worker %}
            self.replace_workers("queue" in replaced)
{% endif %}
            with uninterrupted():
                self.switch(nginx_changes)
        except BaseException:
            if not self.is_complete:
                self.undo()
            raise

    def new(self) -> list[Container]:
        """Return the containers that are not old."""
        known = {container["Id"] for container in self.old}
        return [container for container in containers("web") if container["Id"] not in known]

    def start(self, replicas: int) -> None:
        """Start new containers, and wait until they are healthy."""
        total = len(self.old) + replicas
        options = ["--detach", "--no-deps", "--no-recreate", f"--scale=web={total}"]
        show(*compose("up", *options, "web"))
        say("Waiting until the new version responds")
        while True:
            new = self.new()
            if sum(is_healthy(container) for container in new) >= replicas:
                return
            for container in new:
                if has_failed(container):
                    raise StepError(problem(container))
            time.sleep(0.5)

{% if cookiecutter.use_worker %}
    def replace_workers(self, queue_changes: bool) -> None:
        """Replace worker and beat before web enqueues jobs that the old worker does not know."""
        self.outcome = "The old version of web keeps running, but worker and beat were replaced."
        if queue_changes:
            replace_queue()
        up("worker", "beat")

{% endif %}
    def switch(self, nginx_changes: bool) -> None:
        """Let nginx use its new configuration and the new containers, and stop the old ones."""
        read(*once("nginx-config"))
        if nginx_changes:
            self.outcome = "The old version of web keeps running. nginx was replaced: see its log."
            up("nginx")
        use(self.new(), wait=True)
        self.is_complete = True
        self.outcome = "The new version runs, but not all is done: run make deploy again."
        old = [container["Id"] for container in self.old]
        read("docker", "stop", *old)
        read("docker", "rm", *old)
        use_all()

    def undo(self) -> None:
        """Delete the new containers, and let nginx use the old ones, as far as possible."""
        with uninterrupted():
            with suppress(StepError):  # what has failed before is the cause
                remove(self.new())
            with suppress(StepError):
                use_all()


def is_healthy(container: Container) -> bool:
    """Return whether the health check has succeeded."""
    return container["State"]["Health"]["Status"] == "healthy"


def remove(unused: list[Container]) -> None:
    """Delete containers."""
    if unused:
        read("docker", "rm", "--force", *(container["Id"] for container in unused))


def use(chosen: list[Container], *, wait: bool = False) -> None:
    """Let nginx send requests to these containers, or to all, if ``chosen`` is empty.

    ``wait`` until none goes to others.
    """
    if not any(is_running(container) for container in containers("nginx")):
        return
    nginx = compose("exec", "--no-TTY", "nginx", "sh")
    read(*nginx, "/nginx/servers.sh", *(address(container) for container in chosen))
    read(*nginx, "/nginx/reload.sh", *(["--wait"] if wait else []))


def use_all() -> None:
    """Let nginx send requests to all containers of web."""
    use([])


def address(container: Container) -> str:
    """Return the address of a container in the network of nginx."""
    for name, network in container["NetworkSettings"]["Networks"].items():
        if name.endswith("_front"):  # Compose names it PROJECT_front
            return network["IPAddress"]
    raise StepError("A container of web is not in the network front.")
