"""The hardening of every service, from outside (`docker inspect`) and from inside (`/proc`).

The numbers are those of the CIS Docker Benchmark 1.6, section 5, if it has the rule.
"""

import json
import subprocess

import pytest
from dotenv import dotenv_values
from hardening import broken_rules, configured, privileges
from projects import COMBINATIONS, ENVIRONMENT, name_of
from stacks import CANARY, SLUG

pytestmark = pytest.mark.docker

STORES = {"postgres", "redis", "queue"}
PYTHON = {"web", "migrate", "worker", "beat"}


@pytest.mark.xdist_group("combinations")
def test_every_service_is_hardened(stack):
    assert broken_rules(stack) == []


@pytest.mark.xdist_group("combinations")
def test_only_one_service_publishes_a_port_on_loopback(stack):
    bindings = {
        name: [
            b["HostIp"] for port in (c["HostConfig"]["PortBindings"] or {}).values() for b in port
        ]
        for name, c in stack.containers().items()
    }

    front = "nginx" if stack.options["use_nginx"] else "web"
    assert {name: ips for name, ips in bindings.items() if ips} == {front: ["127.0.0.1"]}


@pytest.mark.xdist_group("combinations")
def test_processes_have_no_privileges(stack):
    assert privileges(stack) == []


@pytest.mark.xdist_group("combinations")
def test_data_stores_have_no_default_route(stack):
    for service in STORES & set(configured(stack)["services"]):
        routes = stack.inside(service, "cat", "/proc/net/route")

        destinations = [line.split()[1] for line in routes.splitlines()[1:]]
        assert "00000000" not in destinations, service


@pytest.mark.xdist_group("combinations")
def test_nginx_cannot_resolve_the_data_stores(stack):
    stack.needs("use_nginx")
    for store in STORES & set(configured(stack)["services"]):
        assert stack.inside("nginx", "getent", "hosts", store, check=False) == "", store


# The options do not change the configuration of the stores: one stack, with all of them, is enough.
with_both = pytest.mark.parametrize("stack", COMBINATIONS[:1], indirect=True, ids=name_of)


@with_both
@pytest.mark.parametrize(
    ("user", "host"),
    [("postgres", "127.0.0.1"), (SLUG, "127.0.0.1"), (SLUG, "/var/run/postgresql")],
)
@pytest.mark.xdist_group("combinations")
def test_database_requires_a_password(stack, user, host):
    psql = ["psql", "--no-password", f"--host={host}", f"--username={user}", SLUG, "-c", "SELECT 1"]

    done = stack.compose("exec", "-T", "postgres", *psql, check=False)

    assert done.returncode != 0
    assert "no password supplied" in done.stdout or "authentication failed" in done.stdout


@with_both
@pytest.mark.xdist_group("combinations")
def test_role_of_the_service_is_not_a_superuser(stack):
    rows = stack.sql(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles "
        "WHERE rolcanlogin ORDER BY rolname <> 'postgres'"
    )

    assert rows == ["postgres|t|t|t|t", f"{SLUG}|f|f|f|f"]


@with_both
@pytest.mark.parametrize("store", ["redis", "queue"])
@pytest.mark.xdist_group("combinations")
def test_redis_requires_a_password(stack, store):
    ping = ["env", "-u", "REDISCLI_AUTH", "redis-cli", "ping"]

    assert "NOAUTH" in stack.inside(store, *ping)


@with_both
@pytest.mark.parametrize("store", ["redis", "queue"])
@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET dir", "SHUTDOWN", "KEYS *"])
@pytest.mark.xdist_group("combinations")
def test_redis_rejects_dangerous_commands(stack, store, command):
    assert "NOPERM" in stack.inside(store, "redis-cli", *command.split())


def secrets_of(project):
    values = dotenv_values(project / ".env").items()
    return {name: value for name, value in values if name.endswith(("_KEY", "_PASSWORD"))}


@pytest.mark.xdist_group("combinations")
def test_secrets_are_only_in_services_that_need_them(stack):
    secrets = secrets_of(stack.project)
    users = {
        "SECRET_KEY": PYTHON,
        "ACCOUNTS_KEY": PYTHON,
        "DATABASE_PASSWORD": PYTHON | {"postgres"},
        "POSTGRES_PASSWORD": {"postgres"},
        "REDIS_PASSWORD": PYTHON | {"redis"},
        "QUEUE_PASSWORD": PYTHON | {"queue"},
    }
    containers = stack.containers()
    environments = {name: " ".join(c["Config"]["Env"]) for name, c in containers.items()}
    commands = json.dumps([[c["Args"], c["Config"]["Cmd"]] for c in containers.values()])
    logs = stack.compose("logs").stdout

    for name, value in secrets.items():
        holders = {service for service, text in environments.items() if value in text}
        assert holders == users[name] & set(containers), name
        assert value not in logs, name
        assert value not in commands, name


def planted(full_stack):
    """Return the secrets of a project, and the content of files that no image may contain."""
    secrets = secrets_of(full_stack.project).values()
    assert len(secrets) == 4
    return [CANARY.encode(), *(secret.encode() for secret in secrets)]


def holds(command, needles, cwd):
    """Return which of ``needles`` are in the output of ``command``, of any size."""
    found, rest = set(), b""
    with subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        while data := process.stdout.read(1 << 22):
            found |= {needle for needle in needles if needle in rest + data}
            rest = data[-100:]
    assert process.returncode == 0
    return found


@pytest.mark.xdist_group("docker")
def test_no_secret_is_in_the_build_context(full_stack, tmp_path):
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")
    build = ["docker", "build", "--quiet", f"--file={everything}", "--output=type=tar,dest=-", "."]

    assert holds(build, [b"create_app", *planted(full_stack)], full_stack.project) == {
        b"create_app"
    }


@pytest.mark.xdist_group("docker")
def test_no_secret_is_in_a_layer_of_the_image(full_stack):
    save = ["docker", "save", f"{full_stack.name}-web"]

    assert holds(save, [b"create_app", *planted(full_stack)], full_stack.project) == {b"create_app"}
