"""The hardening of every service, from outside (`docker inspect`) and from inside (`/proc`).

The numbers are those of the CIS Docker Benchmark 1.6, section 5, if it has the rule.
"""

import json
import subprocess

import pytest
from conftest import COMBINATIONS, ENVIRONMENT, name_of
from dotenv import dotenv_values
from stacks import CANARY, SLUG

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

STORES = {"postgres", "redis", "queue"}
PYTHON = {"web", "migrate", "worker", "beat"}
ADDED = {"caddy": ["CAP_NET_BIND_SERVICE"]}  # its program does not start without it
INSIDE = """
status=$(cat /proc/self/status); echo "$status" | grep -E '^(CapEff|NoNewPrivs|Seccomp):'
id -u; touch /canary 2>&1 | grep -o 'Read-only file system'
cat /proc/[0-9]*/comm 2>/dev/null; true # a process may have exited meanwhile
"""


def configured(stack):
    config = stack.compose("config", "--format=json").stdout
    return json.loads(config)


def facts(container, service, networks):
    """Return whether a container satisfies each rule, by the name of the rule."""
    host, config = container["HostConfig"], container["Config"]
    name = config["Labels"]["com.docker.compose.service"]
    one_shot = service.get("restart") == "no"
    uid = config["User"].partition(":")[0]
    return {
        "user is a number and not root (4.1)": uid.isdigit() and int(uid) > 0,
        "root file system is read-only (5.13)": host["ReadonlyRootfs"],
        "all capabilities are dropped, none is added (5.4)": host["CapDrop"] == ["ALL"]
        and (host["CapAdd"] or []) == ADDED.get(name, []),
        "not privileged (5.5)": not host["Privileged"],
        "no new privileges, default seccomp profile (5.3, 5.22, 5.26)": host["SecurityOpt"]
        == ["no-new-privileges:true"],
        "processes are limited (5.29)": (host["PidsLimit"] or 0) > 0,
        "memory is limited (5.11)": host["Memory"] > 0,
        "CPUs are limited (5.12)": host["NanoCpus"] > 0,
        "log is rotated": host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"},
        "restarts by itself, or runs once (5.15)": host["RestartPolicy"]["Name"]
        == ("no" if one_shot else "unless-stopped"),
        "init reaps its children": host["Init"],
        "image has a tag other than latest, or is built here (4.2)": "build" in service
        or service["image"].rpartition(":")[2] not in ("", "latest"),
        "health is checked (5.27)": one_shot or "Health" in container["State"],
        "networks are its own (5.30)": set(container["NetworkSettings"]["Networks"])
        <= {network["name"] for network in networks.values()},
        "no host namespace (5.10, 5.16, 5.17, 5.21, 5.31)": "host"
        not in {host[f"{kind}Mode"] for kind in ("Network", "Pid", "Ipc", "UTS", "Userns")},
        "no devices (5.18)": not host["Devices"],
        "cgroup is its own (5.25)": host["CgroupParent"] == "",
        "of the host, only the SQL script is mounted (5.6, 5.20, 5.32)": all(
            mount["Type"] in {"volume", "tmpfs"}
            or mount["Destination"] == "/docker-entrypoint-initdb.d"
            and (mount["RW"], mount["Propagation"]) == (False, "rprivate")
            for mount in container["Mounts"]
        ),
    }


def test_every_service_is_hardened(stack):
    config, containers = configured(stack), stack.containers()

    broken = [
        f"{name}: {rule}"
        for name, service in config["services"].items()
        for rule, holds in facts(containers[name], service, config["networks"]).items()
        if not holds
    ]

    assert set(containers) == set(config["services"])
    assert broken == []


def test_only_one_service_publishes_a_port_on_loopback(stack):
    bindings = {
        name: [
            b["HostIp"] for port in (c["HostConfig"]["PortBindings"] or {}).values() for b in port
        ]
        for name, c in stack.containers().items()
    }

    front = "nginx" if stack.options["use_nginx"] else "web"
    assert {name: ips for name, ips in bindings.items() if ips} == {front: ["127.0.0.1"]}


def test_processes_have_no_privileges(stack):
    for service in set(configured(stack)["services"]) - {"migrate"}:
        lines = stack.inside(service, "sh", "-c", INSIDE).split("\n")

        fields = dict(line.split(":\t") for line in lines[:3])
        assert fields == {"CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}, service
        assert int(lines[3]) > 0, service
        assert lines[4] == "Read-only file system", service
        assert "sshd" not in lines[5:], service  # a server for logins (5.7)
        assert "sh" in lines[5:], service


def test_data_stores_have_no_default_route(stack):
    for service in STORES & set(configured(stack)["services"]):
        routes = stack.inside(service, "cat", "/proc/net/route")

        destinations = [line.split()[1] for line in routes.splitlines()[1:]]
        assert "00000000" not in destinations, service


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
def test_database_requires_a_password(stack, user, host):
    psql = ["psql", "--no-password", f"--host={host}", f"--username={user}", SLUG, "-c", "SELECT 1"]

    done = stack.compose("exec", "-T", "postgres", *psql, check=False)

    assert done.returncode != 0
    assert "no password supplied" in done.stdout or "authentication failed" in done.stdout


@with_both
def test_role_of_the_service_is_not_a_superuser(stack):
    rows = stack.sql(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles "
        "WHERE rolcanlogin ORDER BY rolname <> 'postgres'"
    )

    assert rows == ["postgres|t|t|t|t", f"{SLUG}|f|f|f|f"]


@with_both
@pytest.mark.parametrize("store", ["redis", "queue"])
def test_redis_requires_a_password(stack, store):
    ping = ["env", "-u", "REDISCLI_AUTH", "redis-cli", "ping"]

    assert "NOAUTH" in stack.inside(store, *ping)


@with_both
@pytest.mark.parametrize("store", ["redis", "queue"])
@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET dir", "SHUTDOWN", "KEYS *"])
def test_redis_rejects_dangerous_commands(stack, store, command):
    assert "NOPERM" in stack.inside(store, "redis-cli", *command.split())


def secrets_of(project):
    values = dotenv_values(project / ".env").items()
    return {name: value for name, value in values if name.endswith(("_KEY", "_PASSWORD"))}


def test_secrets_are_only_in_services_that_need_them(stack):
    secrets = secrets_of(stack.project)
    users = {
        "SECRET_KEY": PYTHON,
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


def planted(lab):
    """Return the secrets of a project, and the content of files that no image may contain."""
    secrets = secrets_of(lab.project).values()
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


def test_no_secret_is_in_the_build_context(lab, tmp_path):
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")
    build = ["docker", "build", "--quiet", f"--file={everything}", "--output=type=tar,dest=-", "."]

    assert holds(build, [b"create_app", *planted(lab)], lab.project) == {b"create_app"}


@pytest.mark.parametrize(
    ("service", "known"), [("web", b"create_app"), ("nginx", b"limit_req_zone")]
)
def test_no_secret_is_in_a_layer_of_an_image(lab, service, known):
    save = ["docker", "save", f"{lab.name}-{service}"]

    assert holds(save, [known, *planted(lab)], lab.project) == {known}
