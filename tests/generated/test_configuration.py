"""Values of Compose, the image and nginx whose absence shows only under load, or after a crash."""

import re

import crossplane
import pytest
import yaml

EVERYTHING = {"use_worker": True, "use_metrics": True, "use_openapi": True}
NGINX = {
    "error_page": [["403", "405", "413", "429", "502", "504", "/.nginx/$problem"]],
    "gzip": [["on"]],
    "gzip_proxied": [["any"]],
    "keepalive": [["32"]],  # connections to web that stay open
    "proxy_next_upstream_timeout": [["5s"]],
    "send_timeout": [["10s"]],  # a client that does not read
    "worker_shutdown_timeout": [["GRACEFUL_TIMEOUTs"]],  # a WebSocket during a deployment
}
REDIS = {"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru", "save": '""'}
QUEUE = {
    "maxmemory": "128mb",
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "always",
    "save": '""',
}
MEMORY = {"postgres": "512m", "redis": "128m", "queue": "256m"}


@pytest.fixture
def project(no_lock, bake):
    return bake(**EVERYTHING)


@pytest.fixture
def services(project):
    return yaml.safe_load((project / "compose.yaml").read_text())["services"]


def redis_options(service):
    """Return the configuration that a Redis gets on its standard input."""
    script = service["command"][-1].splitlines()[1:-1]
    return dict(line.split(maxsplit=1) for line in script if not line.startswith("user "))


def directives(block):
    """Yield the name and the arguments of each directive of nginx."""
    for directive in block:
        yield directive["directive"], directive["args"]
        yield from directives(directive.get("block", []))


def test_cache_evicts_and_queue_keeps(services):
    assert redis_options(services["redis"]) == REDIS
    assert redis_options(services["queue"]) == QUEUE
    assert "queue:/data" in services["queue"]["volumes"]


def test_memory_is_larger_than_that_of_redis(services):
    limits = {name: services[name]["deploy"]["resources"]["limits"] for name in MEMORY}

    assert {name: limit["memory"] for name, limit in limits.items()} == MEMORY
    for name in ("redis", "queue"):
        maximum = redis_options(services[name])["maxmemory"]
        assert int(MEMORY[name].removesuffix("m")) > int(maximum.removesuffix("mb"))


def test_health_checks_see_more_than_a_process(services):
    for name in ("redis", "queue"):  # redis-cli succeeds without the password, too
        assert services[name]["healthcheck"]["test"] == 'test "$$(redis-cli ping)" = PONG'
    assert "--host=127.0.0.1" in services["postgres"]["healthcheck"]["test"].split()
    assert services["web"]["healthcheck"]["timeout"] == "15s"


def test_services_have_time_to_stop(services):
    assert services["postgres"]["stop_grace_period"] == "1m"
    assert services["postgres"]["shm_size"] == "128m"
    assert services["worker"]["stop_signal"] == "SIGQUIT"
    assert services["worker"]["stop_grace_period"] == "35s"


def test_image_is_hardened_without_compose(project):
    text = (project / "Dockerfile").read_text()
    stage = text[text.index(" AS production") :]
    instructions = re.findall(r"(?m)^([A-Z]+) (.+)$", stage)

    assert [value for name, value in instructions if name == "USER"] == ["10001:10001"]
    [check] = [value for name, value in instructions if name == "HEALTHCHECK"]
    assert "--timeout=15s" in check
    assert "PYTHONUNBUFFERED=1" in stage
    assert "compileall" in text


def test_nginx_limits_each_client_and_what_is_slow(project):
    template = project / "nginx/nginx.conf.template"
    template.write_text(re.sub(r"\$\{(\w+)\}", r"\1", template.read_text()))
    payload = crossplane.parse(str(template), single=True)
    found = list(directives(payload["config"][0]["parsed"]))

    for name, values in NGINX.items():
        assert [args for directive, args in found if directive == name][: len(values)] == values
    zones = [args for directive, args in found if directive == "limit_req_zone"]
    assert zones[0][0] == "$binary_remote_addr"
    limits = [args for directive, args in found if directive == "limit_req"]
    assert limits[0] == ["zone=requests", "burst=RATE_BURST", "nodelay"]
    headers = [args[:2] for directive, args in found if directive == "add_header"]
    assert ["Cache-Control", "no-store"] in headers
    assert any(name == "Content-Security-Policy" for name, *_ in headers)


def test_servers_of_nginx_are_never_given_up(project):
    text = (project / "nginx/servers.sh").read_text()
    servers = [line for line in text.splitlines() if '"server web:8000' in line]

    assert all("max_fails=0" in line for line in servers)
    assert len(servers) == 2


def test_programs_contain_the_commands_that_prune_images_and_end_connections(project):
    assert '"image", "prune"' in (project / "bin/deploy").read_text()
    assert "pg_terminate_backend" in (project / "bin/databases.py").read_text()
