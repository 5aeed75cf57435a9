"""Every service of every stack, seen from outside (`docker inspect`) and from inside (`/proc`).

The numbers are those of the CIS Docker Benchmark 1.6, section 5, where it has one for the rule.
"""

import json
import subprocess

import pytest
from conftest import ENVIRONMENT, run
from dotenv import dotenv_values
from stacks import CANARY

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

INSIDE = """
status=$(cat /proc/self/status); echo "$status" | grep -E '^(CapEff|NoNewPrivs|Seccomp):'
id -u; touch /canary 2>&1 | grep -o 'Read-only file system'
"""


def configured(stack):
    config = stack.compose("config", "--format=json").stdout
    return json.loads(config)


def facts(container, service, networks):
    """What must hold for a container, by the name of the rule."""
    host, config = container["HostConfig"], container["Config"]
    one_shot = service.get("restart") == "no"
    uid = config["User"].partition(":")[0]
    return {
        "user is a number and not root (4.1)": uid.isdigit() and int(uid) > 0,
        "root file system is read-only (5.13)": host["ReadonlyRootfs"],
        "all capabilities are dropped, none is added (5.4)": host["CapDrop"] == ["ALL"]
        and not host["CapAdd"],
        "not privileged (5.5)": not host["Privileged"],
        "no new privileges (5.26)": host["SecurityOpt"] == ["no-new-privileges:true"],
        "processes are limited (5.29)": (host["PidsLimit"] or 0) > 0,
        "memory is limited (5.11)": host["Memory"] > 0,
        "CPUs are limited (5.12)": host["NanoCpus"] > 0,
        "log is rotated": {"max-size", "max-file"} <= set(host["LogConfig"]["Config"]),
        "restarts by itself, or runs once (5.15)": host["RestartPolicy"]["Name"]
        == ("no" if one_shot else "unless-stopped"),
        "init reaps its children": host["Init"],
        "image has a tag other than latest, or is built here (4.2)": "build" in service
        or service["image"].rpartition(":")[2] not in ("", "latest"),
        "health is checked (5.27)": one_shot or "Health" in container["State"],
        "networks are its own (5.10, 5.30)": set(container["NetworkSettings"]["Networks"])
        <= {network["name"] for network in networks.values()},
        "no host namespace (5.16, 5.17, 5.21)": "host"
        not in {host["PidMode"], host["IpcMode"], host["UTSMode"], host["NetworkMode"]},
        "of the host, only the SQL script is mounted (5.6, 5.7, 5.32)": all(
            mount["Type"] in {"volume", "tmpfs"}
            or mount["Destination"] == "/docker-entrypoint-initdb.d"
            and not mount["RW"]
            for mount in container["Mounts"]
        ),
    }


def test_sixteen_facts_hold_for_every_service(stack):
    config, containers = configured(stack), stack.containers()

    broken = [
        f"{name}: {rule}"
        for name, service in config["services"].items()
        for rule, holds in facts(containers[name], service, config["networks"]).items()
        if not holds
    ]

    assert set(containers) == set(config["services"])
    assert broken == []


def section_5(container):
    """Section 5 of the CIS Docker Benchmark 1.6, as far as `docker inspect` shows it."""
    host, mounts = container["HostConfig"], container["Mounts"]
    published = [b for bound in (host["PortBindings"] or {}).values() for b in bound]
    system = ("/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr")
    return {
        "5.2 AppArmor": container["AppArmorProfile"] not in {"", "unconfined"},
        "5.3 security options": bool(host["SecurityOpt"]),
        "5.4 capabilities": not host["CapAdd"],
        "5.5 privileged": not host["Privileged"],
        "5.6 system directories": not [
            m for m in mounts if m["Source"] == "/" or m["Source"].startswith(system)
        ],
        "5.8 privileged ports": all(int(b["HostPort"]) >= 1024 for b in published),
        "5.9 open ports": not published,
        "5.10 network of the host": host["NetworkMode"] != "host",
        "5.11 memory": host["Memory"] > 0,
        "5.12 CPU": host["NanoCpus"] > 0,
        "5.13 read-only root": host["ReadonlyRootfs"],
        "5.14 interface": all(b["HostIp"] not in {"", "0.0.0.0", "::"} for b in published),
        "5.15 restarts": host["RestartPolicy"]["Name"] != "always",
        "5.16 processes of the host": host["PidMode"] != "host",
        "5.17 IPC of the host": host["IpcMode"] != "host",
        "5.18 devices": not host["Devices"],
        "5.20 mount propagation": not [m for m in mounts if m.get("Propagation") == "shared"],
        "5.21 UTS of the host": host["UTSMode"] != "host",
        "5.22 seccomp": "seccomp=unconfined" not in host["SecurityOpt"],
        "5.25 cgroup": host["CgroupParent"] == "",
        "5.26 new privileges": "no-new-privileges:true" in host["SecurityOpt"],
        "5.27 health": "Health" in container["State"]
        or host["RestartPolicy"]["Name"] == "no",  # a job, which ends
        "5.29 PIDs": (host["PidsLimit"] or 0) > 0,
        "5.30 default bridge": host["NetworkMode"] not in {"bridge", "default"},
        "5.31 users of the host": host["UsernsMode"] != "host",
        "5.32 socket of Docker": not [m for m in mounts if m["Source"].endswith("docker.sock")],
    }


def test_benchmark_finds_what_docker_cannot_avoid_and_no_more(stack):
    found = {
        rule
        for container in stack.containers().values()
        for rule, holds in section_5(container).items()
        if not holds
    }

    assert found <= {"5.2 AppArmor", "5.9 open ports"}


def test_no_server_for_logins_runs(stack):
    look = "cat /proc/[0-9]*/comm 2>/dev/null"  # one may have ended by then
    for service in set(configured(stack)["services"]) - {"migrate"}:
        running = stack.inside(service, "sh", "-c", f"{look}; true").split()
        assert "sh" in running, service
        assert "sshd" not in running, service


def test_ports_are_on_loopback_and_data_stores_have_none(stack):
    bindings = {
        name: [
            b["HostIp"] for port in (c["HostConfig"]["PortBindings"] or {}).values() for b in port
        ]
        for name, c in stack.containers().items()
    }

    front = "nginx" if stack.options["use_nginx"] else "web"
    assert {name: ips for name, ips in bindings.items() if ips} == {front: ["127.0.0.1"]}


def test_data_stores_are_on_an_internal_network_only(stack):
    config = configured(stack)

    stores = {"postgres", "redis"} & set(config["services"])
    assert all(set(config["services"][store]["networks"]) == {"data"} for store in stores)
    assert not stores or config["networks"]["data"]["internal"]
    assert "data" not in config["services"].get("nginx", {"networks": {}})["networks"]


def test_process_inside_can_do_nothing_but_its_work(stack):
    for service in set(configured(stack)["services"]) - {"migrate"}:
        lines = stack.compose("exec", "-T", service, "sh", "-c", INSIDE).stdout.split("\n")

        fields = dict(line.split(":\t") for line in lines[:3])
        assert fields == {"CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}, service
        assert int(lines[3]) > 0, service
        assert lines[4] == "Read-only file system", service


def test_data_stores_have_no_way_out(stack):
    for service in {"postgres", "redis"} & set(configured(stack)["services"]):
        routes = stack.compose("exec", "-T", service, "cat", "/proc/net/route").stdout

        destinations = [line.split()[1] for line in routes.splitlines()[1:]]
        assert "00000000" not in destinations, service


def test_proxy_does_not_see_the_data_stores(stack):
    stack.needs("use_nginx")
    for store in {"postgres", "redis"} & set(configured(stack)["services"]):
        found = stack.compose("exec", "-T", "nginx", "getent", "hosts", store, check=False)
        assert found.returncode != 0, store


def test_database_lets_nobody_in_without_a_password(stack):
    stack.needs("use_postgres")
    role = stack.project.name
    for user, address in (
        (role, "127.0.0.1"),
        ("postgres", "127.0.0.1"),
        (role, "/var/run/postgresql"),
    ):
        psql = [
            "psql",
            "--no-password",
            f"--host={address}",
            f"--username={user}",
            role,
            "-c",
            "SELECT 1",
        ]
        done = stack.compose("exec", "-T", "postgres", *psql, check=False)

        assert done.returncode != 0, (user, address)
        assert "no password supplied" in done.stdout or "authentication failed" in done.stdout


def test_role_of_the_service_is_no_superuser(stack):
    stack.needs("use_postgres")
    query = (
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles "
        "WHERE rolcanlogin ORDER BY rolname <> 'postgres'"
    )

    psql = [
        "psql",
        "--username=postgres",
        "--tuples-only",
        "--no-align",
        stack.project.name,
        "-c",
        query,
    ]
    rows = stack.compose("exec", "-T", "postgres", *psql).stdout.split()

    assert rows == ["postgres|t|t|t|t", f"{stack.project.name}|f|f|f|f"]


def test_cache_lets_nobody_in_without_a_password(stack):
    stack.needs("use_redis")
    ping = ["env", "-u", "REDISCLI_AUTH", "redis-cli", "ping"]

    assert "NOAUTH" in stack.compose("exec", "-T", "redis", *ping).stdout


@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET dir", "SHUTDOWN", "KEYS *"])
def test_cache_refuses_dangerous_commands(stack, command):
    stack.needs("use_redis")
    answer = stack.compose("exec", "-T", "redis", "redis-cli", *command.split()).stdout

    assert "NOPERM" in answer


def secrets_of(project):
    values = dotenv_values(project / ".env").items()
    return {name: value for name, value in values if name.endswith(("_KEY", "_PASSWORD"))}


def test_secrets_are_where_they_are_needed_and_nowhere_else(stack):
    secrets = secrets_of(stack.project)
    users = {
        "SECRET_KEY": {"web", "migrate"},
        "DATABASE_PASSWORD": {"web", "migrate", "postgres"},
        "POSTGRES_PASSWORD": {"postgres"},
        "REDIS_PASSWORD": {"web", "migrate", "redis"},
    }
    containers = stack.containers()
    images = {
        run("docker", "history", "--no-trunc", c["Image"], cwd=stack.project).stdout
        for c in containers.values()
    }
    images |= {
        run("docker", "image", "inspect", c["Image"], cwd=stack.project).stdout
        for c in containers.values()
    }
    logs = stack.compose("logs").stdout

    for name, value in secrets.items():
        holders = {
            service for service, c in containers.items() if value in " ".join(c["Config"]["Env"])
        }
        assert holders <= users[name], name
        assert value not in logs, name
        assert not [text for text in images if value in text], name
        assert not [
            s for s, c in containers.items() if value in json.dumps([c["Args"], c["Config"]["Cmd"]])
        ], name


def planted(lab):
    """Every secret of a project, and the content of the files that no image may hold."""
    secrets = secrets_of(lab.project).values()
    assert len(secrets) == 4
    return [CANARY.encode(), *(secret.encode() for secret in secrets)]


def holds(command, needles, cwd):
    """Which of ``needles`` are in what ``command`` prints, however much that is."""
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

    command = [
        "docker",
        "build",
        "--quiet",
        f"--file={everything}",
        "--output=type=tar,dest=-",
        ".",
    ]

    assert holds([*command[:-1], "."], [b"create_app"], lab.project) == {b"create_app"}
    assert holds(command, planted(lab), lab.project) == set()


@pytest.mark.parametrize("service", ["web", "nginx"])
def test_no_secret_is_in_a_layer_of_an_image(lab, service):
    command = ["docker", "save", f"{lab.name}-{service}"]
    known = {"web": b"create_app", "nginx": b"limit_req_zone"}[service]

    assert holds(command, [known], lab.project) == {known}
    assert holds(command, planted(lab), lab.project) == set()
