"""The rules of hardening, which each service of a stack has to satisfy.

The numbers are those of the CIS Docker Benchmark 1.6, section 5, if it has the rule.
"""

import json

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
        <= {network["name"] for network in networks.values()} | {"none"},
        "no host namespace (5.10, 5.16, 5.17, 5.21, 5.31)": "host"
        not in {host[f"{kind}Mode"] for kind in ("Network", "Pid", "Ipc", "UTS", "Userns")},
        "no devices (5.18)": not host["Devices"],
        "cgroup is its own (5.25)": host["CgroupParent"] == "",
        "of the host, only configuration is mounted (5.6, 5.20, 5.32)": all(
            mount["Type"] in {"volume", "tmpfs"}
            or mount["Destination"] in {"/docker-entrypoint-initdb.d", "/nginx"}
            and (mount["RW"], mount["Propagation"]) == (False, "rprivate")
            for mount in container["Mounts"]
        ),
    }


def broken_rules(stack):
    """Return the rules that a container does not satisfy, from `docker inspect`."""
    config, containers = configured(stack), stack.containers()
    assert set(containers) == set(config["services"])
    return [
        f"{name}: {rule}"
        for name, service in config["services"].items()
        for rule, holds in facts(containers[name], service, config["networks"]).items()
        if not holds
    ]


def privileges(stack):
    """Return the services with a process that has a privilege, from ``/proc`` in the container."""
    services = set(configured(stack)["services"]) - {"migrate", "nginx-config"}
    return [
        f"{service}: {output}"
        for service in sorted(services)
        if not is_without_privileges(output := stack.inside(service, "sh", "-c", INSIDE))
    ]


def is_without_privileges(output):
    """Return whether the output of ``INSIDE`` is that of a process without privileges."""
    lines = output.split("\n")
    uid, written, programs = lines[3], lines[4], lines[5:]
    fields = dict(line.split(":\t") for line in lines[:3])
    return (
        fields == {"CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
        and int(uid) > 0
        and written == "Read-only file system"
        and "sshd" not in programs  # a server for logins (5.7)
        and "sh" in programs
    )
