"""The functions of bin/ that decide by what Docker and Compose print, with what they print."""

import json
import socket
import sys

import pytest
from projects import FULL, WITH_ALL, run

PROGRAM = """
import errno, json, runpy
import checks, commands, replacement, services

def caught(function):
    try:
        function()
    except commands.StepError as error:
        return str(error)
    return ""
"""


def call(project, code, **environment):
    """Return what an expression in the modules of bin/ evaluates to."""
    program = f"{PROGRAM}\nprint(json.dumps({code}))"
    done = run(sys.executable, "-c", program, cwd=project / "bin", **environment)
    return json.loads(done.stdout)


def container(status="running", health="healthy", code=0, restarts=0):
    state = {"Status": status, "ExitCode": code, "Health": {"Status": health, "Log": []}}
    return {"Id": "1", "State": state, "RestartCount": restarts}


@WITH_ALL
@pytest.mark.parametrize(
    ("given", "failed"),
    [
        (container(), False),
        (container(health="starting"), False),
        (container(health="unhealthy"), True),
        (container(status="exited", code=1), True),
        (container(status="restarting", health="starting", restarts=2), True),
        (container(restarts=1), False),  # once, a long time ago
    ],
)
def test_container_that_has_recovered_has_not_failed(project, given, failed):
    assert call(project, f"services.has_failed(json.loads({json.dumps(given)!r}))") is failed


@WITH_ALL
@pytest.mark.parametrize("name", ["shop", "storefront", "front"])
def test_address_is_that_in_the_network_of_nginx(project, name):
    """Docker sorts the networks by name."""
    networks = {
        f"{name}_data": {"IPAddress": "10.0.0.2"},
        f"{name}_front": {"IPAddress": "10.1.0.2"},
    }
    given = json.dumps({"NetworkSettings": {"Networks": networks}})

    assert call(project, f"replacement.address(json.loads({given!r}))") == "10.1.0.2"


@WITH_ALL
@pytest.mark.parametrize(
    "ports",
    [
        [{"target": 9000, "published": "0", "protocol": "tcp"}],
        [{"target": 9000, "protocol": "tcp"}],
        [{"target": 9000, "published": "9000-9005", "protocol": "tcp"}],
        [{"target": 9000, "published": "59999", "protocol": "udp", "host_ip": "127.0.0.1"}],
    ],
)
def test_ports_that_an_owner_adds_are_checked(project, ports):
    services = json.dumps({"web": {"ports": ports}})
    fake = "setattr(checks, 'containers', lambda *_: [])"

    assert call(project, f"[{fake}, checks.check_ports(json.loads({services!r}))]") == [None, None]


@WITH_ALL
def test_low_port_in_use_is_found_without_root(project):
    """Only root may listen on such a port, so that whether it is free has to be tried otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refuse = "setattr(checks, 'listen', lambda *_: errno.EACCES)"
        found = call(
            project,
            f"[{refuse}, caught(lambda: checks.check_port('127.0.0.1', {port}, 'tcp', False))][1]",
        )
    free = call(
        project,
        f"[{refuse}, caught(lambda: checks.check_port('127.0.0.1', {port}, 'tcp', False))][1]",
    )

    assert found.startswith(f"Another program uses port {port} of 127.0.0.1")
    assert free == ""


@WITH_ALL
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_port_that_the_service_publishes_elsewhere_is_its_own(project, address):
    ours = {"NetworkSettings": {"Ports": {"8080/tcp": [{"HostIp": "127.0.0.2", "HostPort": "7"}]}}}
    port = {"target": 8080, "published": "7", "protocol": "tcp", "host_ip": address}
    services = json.dumps({"nginx": {"ports": [port]}})
    fake = f"setattr(checks, 'containers', lambda *_: [json.loads({json.dumps(ours)!r})])"
    used = "setattr(checks, 'listen', lambda *_: errno.EADDRINUSE)"

    code = f"[{fake}, {used}, caught(lambda: checks.check_ports(json.loads({services!r})))][2]"
    assert call(project, code) == ""


@pytest.mark.parametrize(
    "line",
    [
        "HTTP_PORT=9001",
        "export HTTP_PORT = 9001",
        '  HTTP_PORT="9001" # a comment',
        "LOG_LEVEL=\nHTTP_PORT=9001",
    ],
)
def test_programs_and_make_read_a_port_in_env_like_compose(bake, no_lock, line):
    fresh = bake(**FULL)
    with (fresh / ".env").open("a") as file:
        file.write(f"{line}\n")

    assert call(fresh, "services.setting('HTTP_PORT')") == "9001"
    assert call(fresh, "services.setting('LOG_LEVEL')") == ""
    printed = run("make", "-n", "up", cwd=fresh)
    assert printed.stdout.splitlines()[-1] == 'echo "Up: http://127.0.0.1:9001"'


@pytest.mark.parametrize("line", ["WEB_REPLICAS=3", "export WEB_REPLICAS=3", " WEB_REPLICAS = 3"])
def test_number_of_replicas_is_written_once(bake, no_lock, line):
    fresh = bake(**FULL)
    (fresh / ".env").write_text(f"A=1\n{line}\nB=2\n")

    call(fresh, "runpy.run_path('../bin/deploy')['write_replicas'](2)")

    assert (fresh / ".env").read_text() == "A=1\nB=2\n\nWEB_REPLICAS=2\n"


def test_setting_without_an_env_file_is_that_of_the_environment(bake, no_lock):
    fresh = bake(**FULL)
    (fresh / ".env").unlink()

    assert call(fresh, "services.setting('HTTP_PORT')", HTTP_PORT="9002") == "9002"
    assert call(fresh, "services.setting('HTTP_PORT')") == ""


@WITH_ALL
def test_inner_block_without_interruptions_does_not_end_the_outer_one(project):
    code = (
        "import signal, sys; sys.path.insert(0, '.'); from commands import SIGNALS, uninterrupted\n"
        "with uninterrupted():\n"
        "    with uninterrupted():\n"
        "        pass\n"
        "    assert SIGNALS <= signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "assert not SIGNALS & signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
    )

    run(sys.executable, "-c", code, cwd=project / "bin")


@WITH_ALL
@pytest.mark.parametrize("value", ["No", "false", "0"])
def test_deployment_refuses_a_value_of_migrate_that_it_does_not_know(project, value):
    done = run("make", "-n", "deploy", f"migrate={value}", cwd=project, check=False)

    assert done.returncode == 2
    assert "migrate can only be no: make deploy migrate=no" in done.stdout
