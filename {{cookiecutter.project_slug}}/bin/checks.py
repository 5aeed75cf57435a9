"""What ``bin/deploy`` checks before it replaces anything."""

import errno
import json
import socket
from typing import Any

from commands import StepError, read, say
from services import PLACEHOLDERS, compose, containers, once, setting

# The setting to change if another program uses a port
{% if cookiecutter.use_tls %}
PORT_SETTING = "BIND_ADDRESS"
{% elif cookiecutter.use_nginx %}
PORT_SETTING = "HTTP_PORT"
{% else %}
PORT_SETTING = "PORT"
{% endif %}
# What fails while the container of a service is replaced, and for how long
FAILS_MEANWHILE = {
{% if cookiecutter.use_postgres %}
    "postgres": "Requests that need it fail for about 2 seconds",
{% endif %}
{% if cookiecutter.use_redis %}
    "redis": "Nothing is cached for about 2 seconds",
{% endif %}
{% if cookiecutter.use_worker %}
    "queue": "No job can be enqueued for about 2 seconds",
{% endif %}
{% if cookiecutter.use_nginx %}
{% if cookiecutter.use_tls %}
    "nginx": "Requests wait for about a second",
{% else %}
    "nginx": "Its port is closed for about a second",
{% endif %}
{% endif %}
{% if cookiecutter.use_tls %}
    "caddy": "Its ports are closed for about 2 seconds",
{% endif %}
{% if not cookiecutter.use_nginx %}
{% if cookiecutter.use_tls %}
    "web": "Requests wait for about 3 seconds",
{% else %}
    "web": "Its port is closed for about 3 seconds",
{% endif %}
{% endif %}
}


def check() -> dict[str, Any]:
    """Check what can be checked before anything is replaced, and return the services."""
{% if cookiecutter.use_nginx and cookiecutter.use_postgres %}
    make_readable("nginx", "postgres")
{% elif cookiecutter.use_nginx %}
    make_readable("nginx")
{% elif cookiecutter.use_postgres %}
    make_readable("postgres")
{% endif %}
    check_settings()
{% if cookiecutter.use_nginx %}
    read(*once("nginx-config", "sh", "/nginx/configure.sh", "--check"))
{% endif %}
{% if cookiecutter.use_tls %}
    read(*once("caddy", "caddy", "adapt", "--config=/etc/caddy/Caddyfile"))
{% endif %}
    services: dict[str, Any] = json.loads(read(*compose("config", "--format=json")))["services"]
    check_ports(services)
    return services
{% if cookiecutter.use_nginx or cookiecutter.use_postgres %}


def make_readable(*folders: str) -> None:
    """Let the users of the containers read the files, whatever the umask of the checkout is."""
    unreadable = ["!", "-perm", "-o=r"]
    read("find", *folders, *unreadable, "-exec", "chmod", "go+rX", "{}", "+")
{% endif %}


def check_settings() -> None:
    """Load the application with all settings, but start no server: it prints the invalid ones."""
    # Compose gets the placeholders; the container gets the settings that are checked.
    given = [f"--env={name}={setting(name)}" for name in PLACEHOLDERS if setting(name)]
    server = ["web", "gunicorn", "--check-config", "--config=python:config.gunicorn"]
    read(*once(*given, *server), **PLACEHOLDERS)
{% if cookiecutter.use_postgres %}


def check_password(services: dict[str, Any]) -> None:
    """Check that PostgreSQL, which runs, accepts the password of the service."""
    escaped = services["postgres"]["environment"]["DATABASE_PASSWORD"]
    password = escaped.replace("$$", "$")  # `docker compose config` doubles each $
    user = "{{ cookiecutter.project_slug }}"
    login = ["--host=postgres", f"--username={user}", f"--dbname={user}"]
    psql = ["psql", *login, "--command=SELECT 1"]
    try:
        read(*once("--env=PGPASSWORD", "postgres", *psql), PGPASSWORD=password)
    except StepError as error:
        raise StepError(f"{error}\nIs DATABASE_PASSWORD in .env the password of {user}?") from None
{% endif %}


def check_ports(services: dict[str, Any]) -> None:
    """Check that no other program uses a port that Compose is about to publish."""
    for name, service in services.items():
        ours = published_by(name)
        for port in service.get("ports", []):
            number = port.get("published", "")
            if number.isdigit():  # without a number, Docker chooses a free port
                protocol = port["protocol"]
                check_port(host_of(port), int(number), protocol, (number, protocol) in ours)


def published_by(service: str) -> set[tuple[str, str]]:
    """Return the ports that the running containers of a service publish, and their protocols."""
    published = set()
    for container in containers(service):
        for port, bindings in container["NetworkSettings"]["Ports"].items():
            _, protocol = port.split("/")  # such as 8080/tcp, the port in the container
            for binding in bindings or []:
                published.add((binding["HostPort"], protocol))
    return published


def host_of(port: dict[str, Any]) -> str:
    """Return the address on which Compose publishes a port: all, if none is named."""
    return port.get("host_ip", "0.0.0.0")  # noqa: S104


def check_port(host: str, port: int, protocol: str, is_ours: bool) -> None:
    """Fail if Docker could not listen on a port, unless it does so now for this service."""
    problem = listen(host, port, protocol)
    if problem == errno.EADDRNOTAVAIL:
        raise StepError(f"BIND_ADDRESS in .env is {host}, which is no address of this machine.")
    if is_ours:
        return
    # Only root may listen on low ports, but everybody may connect to them.
    if problem == errno.EADDRINUSE or (problem == errno.EACCES and responds(host, port)):
        where = f"port {port} of {host}"
        raise StepError(f"Another program uses {where}: stop it, or set {PORT_SETTING} in .env.")


def listen(host: str, port: int, protocol: str) -> int:
    """Try to use a port; return the number of the error, or 0 if that is possible."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family(host), kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections are free
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno or 0
    return 0


def responds(host: str, port: int) -> bool:
    """Return whether a program on this machine accepts connections on a port."""
    with socket.socket(family(host)) as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, port)) == 0  # 0.0.0.0 is this machine, too


def family(host: str) -> socket.AddressFamily:
    """Return the family of an IP address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def announce(services: dict[str, Any]) -> None:
    """Say which services are replaced, and what fails meanwhile."""
    for name in replaced(services):
        fails = FAILS_MEANWHILE[name]
        say(f"{name} or its image has changed: it is replaced. {fails}.")


def replaced(services: dict[str, Any]) -> list[str]:
    """Return the services whose container Compose will replace."""
    hashes = dict(line.split() for line in read(*compose("config", "--hash=*")).splitlines())
    return [name for name in FAILS_MEANWHILE if name in services and differs(name, hashes[name])]


def differs(service: str, now: str) -> bool:
    """Return whether a service has a container of another definition or another image."""
    for container in containers(service):
        labels = container["Config"]["Labels"]
        if labels["com.docker.compose.config-hash"] != now:
            return True
        image = read("docker", "image", "inspect", container["Config"]["Image"])
        if container["Image"] != json.loads(image)[0]["Id"]:
            return True
    return False
