"""The services in ``compose.yaml``, and their containers, as Docker and Compose know them."""

import json
import os
import re
import subprocess
from typing import Any

from commands import ROOT, StepError, finish, read, show, start

Container = dict[str, Any]  # what `docker inspect` prints of a container
# Compose does not read compose.yaml if one of these settings is invalid. Until the service has
# checked all settings, Compose gets these valid values.
PLACEHOLDERS = {
    "BIND_ADDRESS": "127.0.0.1",
    "GRACEFUL_TIMEOUT": "30",
{% if cookiecutter.use_nginx %}
    "HTTP_PORT": "8080",
    "WEB_REPLICAS": "1",
{% elif not cookiecutter.use_tls %}
    "PORT": "8000",
{% endif %}
}


def compose(*arguments: str) -> tuple[str, ...]:
    """Return a command of Docker Compose, for production."""
    return ("docker", "compose", "-f", "compose.yaml", *arguments)


def once(*arguments: str) -> tuple[str, ...]:
    """Return the command that runs a service in a new container, which is deleted afterwards."""
    return compose("run", "--rm", "--no-TTY", "--no-deps", *arguments)


def up(*arguments: str) -> None:
    """Start services, and wait until they are healthy; if one is not, its log is the cause."""
    try:
        show(*compose("up", "--detach", "--wait", "--no-deps", *arguments))
    except StepError as error:
        services = [name for name in arguments if not name.startswith("--")]
        failed = [container for container in containers(*services) if has_failed(container)]
        raise StepError(problem(failed[0]) if failed else str(error)) from None


{% if cookiecutter.use_worker %}
def replace_queue() -> None:
    """Replace the queue while no worker runs: a job that is being fetched would be lost."""
    read(*compose("stop", "worker"))
    try:
        up("queue")
    except BaseException:
        read(*compose("start", "worker"))
        raise


{% endif %}
def containers(*services: str) -> list[Container]:
    """Return what Docker knows of the containers of services, or of all; stopped ones too."""
    ps = compose("ps", "--all", "--format=json", *services)
    listed = [json.loads(line) for line in read(*ps, **PLACEHOLDERS).splitlines()]
    ids = [container["ID"] for container in listed if not is_one_off(container)]
    return json.loads(read("docker", "inspect", *ids)) if ids else []


def is_one_off(listed: dict[str, str]) -> bool:
    """Return whether somebody has started a container with ``docker compose run``: it may end."""
    return "com.docker.compose.oneoff=True" in listed["Labels"]


{% if cookiecutter.use_nginx %}
def is_running(container: Container) -> bool:
    """Return whether a container runs, and does not start again and again."""
    return container["State"]["Status"] == "running"


{% endif %}
def has_failed(container: Container) -> bool:
    """Return whether a container has exited with an error, restarts, or is unhealthy."""
    state = container["State"]
    health = state.get("Health", {}).get("Status")
    # The number stays when a container has recovered: alone, it means nothing.
    restarts = container["RestartCount"] > 0 and health != "healthy"
    return health == "unhealthy" or state["ExitCode"] != 0 or restarts


def problem(container: Container) -> str:
    """Return what is wrong with a container that has failed, and the end of its log."""
    service = container["Config"]["Labels"]["com.docker.compose.service"]
    what = "has exited"
    health = container["State"].get("Health", {})
    if health.get("Status") == "unhealthy":
        what = "is unhealthy"
        if health["Log"]:  # empty when the container has just restarted
            what = f"is unhealthy: {health['Log'][-1]['Output'].strip()}"
    logs = ["docker", "logs", "--tail=20", container["Id"]]
    log, _ = finish(start(*logs, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    return f"{service} {what}. Its log ends with:\n{log.rstrip()}"


def setting(name: str) -> str:
    """Return a setting from the environment or ``.env``, or nothing."""
    if value := os.environ.get(name):
        return value
    file = ROOT / ".env"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    # Without export, quotes and a comment
    found = re.findall(rf"(?m)^[ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*['\"]?([^'\"#\n]*)", text)
    return found[-1].strip() if found else ""
