"""HTTPS: certificates of a real ACME server (Pebble), hosts, addresses, and deployments.

Caddy is published on a loopback address of its own, so that its ports can be 80 and 443.
"""

import gzip
import http.client
import json
import re
import ssl
import time
from contextlib import ExitStack
from urllib.request import urlopen

import pytest
import trustme
from caddy import ADDRESS, SETTINGS, Secure
from cryptography import x509
from dotenv import dotenv_values
from figures import report
from hardening import broken_rules, privileges
from load import Load
from projects import BARE, TEMPLATE, change, run
from stacks import stack_with, unique_name, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

HOSTS = ["shop.example", "www.shop.example", "branch.example"]
ROOTS = 18601
LIFETIME = 30
FORGED = {
    "Forwarded": "for=192.0.2.1;host=evil.example;proto=http",
    "X-Forwarded-For": "192.0.2.1, 192.0.2.2",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "81",
    "X-Forwarded-Proto": "http",
    "X-Real-IP": "192.0.2.1",
    "X-Request-ID": "forged-forged",
    "X-Script-Name": "/evil",
}


def answer(connection, path="/", method="GET", **headers):
    """Return the response, and its text."""
    connection.request(method, path, headers={"Connection": "close", **headers})
    response = connection.getresponse()
    response.content = response.read()
    response.text = response.content.decode(errors="replace")
    connection.close()
    return response


def get(path, host="localhost", roots=None, **headers):
    return answer(Secure(host, roots), path, **headers)


DIRECT = pytest.param(False, id="direct", marks=pytest.mark.weekly)


@pytest.fixture(scope="module", params=[pytest.param(True, id="nginx"), DIRECT])
def stack(request, engine, cookies_session):
    options = BARE | {"use_nginx": request.param, "use_tls": True, "use_metrics": True}
    try:
        with stack_with(cookies_session, options, "tls", 18600, settings=SETTINGS) as stack:
            yield stack
    finally:  # compose.override.yaml, with which the stack was deleted, has no such volume
        run("docker", "volume", "rm", "--force", f"{unique_name('tls')}_caddy", cwd=TEMPLATE)


with_nginx = pytest.mark.parametrize("stack", [True], indirect=True, ids=["nginx"])


def test_every_service_is_hardened(stack):
    assert broken_rules(stack) == []
    assert privileges(stack) == []


def test_only_caddy_publishes_ports(stack):
    published = {
        name: {port: found[0]["HostPort"] for port, found in bindings.items()}
        for name, container in stack.containers().items()
        if (bindings := container["HostConfig"]["PortBindings"])
    }

    assert published == {"caddy": {"80/tcp": "80", "443/tcp": "443", "443/udp": "443"}}


def test_development_publishes_the_service_on_loopback(stack):
    config = ["docker", "compose", "config", "--format=json"]
    services = json.loads(run(*config, cwd=stack.project, BIND_ADDRESS="").stdout)["services"]

    published = {
        name: [(port["host_ip"], port["published"]) for port in service["ports"]]
        for name, service in services.items()
        if "ports" in service
    }

    front = "nginx" if stack.options["use_nginx"] else "web"
    assert published == {front: [("127.0.0.1", str(stack.port))]}
    assert "caddy" not in services


def test_http_leads_to_https(stack):
    plain = http.client.HTTPConnection(ADDRESS, 80, timeout=10)

    response = answer(plain, "/livez?a=b", Host="www.shop.example")

    assert response.status == 308
    assert response.getheader("Location") == "https://www.shop.example/livez?a=b"


def test_response_over_https_has_hsts_and_offers_http_2_and_3(stack):
    response = get("/")
    secure = Secure("localhost")
    secure.context.set_alpn_protocols(["h2", "http/1.1"])
    secure.connect()

    assert response.status == 200
    assert response.headers.get_all("Strict-Transport-Security") == [
        "max-age=31536000; includeSubDomains"
    ]
    assert secure.sock.selected_alpn_protocol() == "h2"
    assert response.getheader("Alt-Svc").startswith('h3=":443"')
    secure.close()


def test_address_scheme_and_host_are_right_and_cannot_be_forged(stack):
    network = run("docker", "network", "inspect", f"{stack.name}_front", cwd=stack.project).stdout
    gateway = json.loads(network)[0]["IPAM"]["Config"][0]["Gateway"]

    for headers in ({}, FORGED):
        response = get("/faults/seen", **headers)

        seen = {"url": "https://localhost/faults/seen", "root": "", "client": gateway}
        assert json.loads(response.text) == seen
        assert re.fullmatch("[0-9a-f-]{32,36}", response.getheader("X-Request-ID"))


def test_metrics_are_not_reachable_from_outside(stack):
    token = dotenv_values(stack.project / ".env")["METRICS_TOKEN"]

    for path in ("/metrics", "/metrics?a", "/%6detrics", "/x/../metrics"):
        assert get(path, Authorization=f"Bearer {token}").status == 404


def test_static_files_are_served_as_without_caddy(stack):
    path = re.search(r'href="(/static/v[0-9a-f]{8}/style\.css)"', get("/").text)[1]

    plain = get(path)
    compressed = get(path, **{"Accept-Encoding": "gzip"})
    part = get(path.replace("style.css", "photo.jpg"), Range="bytes=0-9")
    again = get(path, **{"If-None-Match": plain.getheader("ETag")})
    missing = get(path.replace("style", "none"))

    assert plain.getheader("Cache-Control") == "public, max-age=31536000, immutable"
    for name in ("Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options"):
        assert len(plain.headers.get_all(name)) == 1
    assert compressed.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(compressed.content).decode() == plain.text
    assert (part.status, len(part.content)) == (206, 10)
    assert again.status == 304
    assert missing.status == 404
    assert "immutable" not in missing.getheader("Cache-Control")


def test_other_hosts_get_no_certificate_and_no_answer(stack):
    for name in ("evil.example", "x.branch.example", None):
        with pytest.raises(ssl.SSLError, match="alert internal error"):
            Secure(name or ADDRESS).connect()
    with pytest.raises(http.client.RemoteDisconnected):
        get("/livez", Host="evil.example")
    with pytest.raises(http.client.RemoteDisconnected):
        answer(http.client.HTTPConnection(ADDRESS, 80, timeout=10), "/livez", Host="evil.example")


def test_slow_clients_do_not_delay_others(stack):
    """Without a proxy that buffers requests, they would occupy all 16 threads."""
    with ExitStack() as slow:
        for _ in range(40):
            client = Secure("localhost")
            slow.callback(client.close)
            client.putrequest("POST", "/faults/upload")
            client.putheader("Content-Length", "100000")
            client.endheaders(b"x" * 100)
        begun = time.monotonic()
        statuses = [get("/livez").status for _ in range(5)]
        took = time.monotonic() - begun

    report(f"40 slow uploads: five requests of another client took {took:.2f} s")
    assert statuses == [200] * 5
    assert took < 10


def test_log_has_the_fields_of_the_service(stack):
    lines = stack.logs("caddy")

    assert lines
    assert [line for line in lines if not line.startswith('{"level":"')] == []
    for line in map(json.loads, lines):
        assert {"time", "level", "message"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"])
        assert line["level"] in {"INFO", "WARN", "ERROR"}


def deploy_under_load(stack):
    """Return the load, and what the deployment prints."""
    requests = {
        "page": lambda number: ("GET", "/", None),
        "upload": lambda number: ("POST", "/faults/upload", {"number": number}),
    }

    connect = lambda *_, timeout: Secure("localhost", timeout=60)  # noqa: E731
    with Load(443, requests, rate=20, keep_alive=True, connect=connect) as load:
        time.sleep(1)
        deployed = run("make", "deploy", cwd=stack.project).stdout
        time.sleep(2)
    return load, deployed


def test_deployment_fails_no_request(stack):
    """Without nginx, a POST that gunicorn no longer accepts can fail, as docs/deploy.md says."""
    can_fail = set() if stack.options["use_nginx"] else {("upload", 502)}
    (stack.project / "user/static/new.txt").write_text("new")
    before = {name: one["Id"] for name, one in stack.containers().items()}

    load, deployed = deploy_under_load(stack)

    replaced = {name for name, one in stack.containers().items() if one["Id"] != before[name]}
    report(f"deployment: {load.outcome}; {load}")
    assert replaced == {"web"}
    assert {(kind, status) for kind, status, _ in load.failed} <= can_fail
    assert get("/static/new.txt").text == "new"
    if stack.options["use_nginx"]:
        assert deployed.splitlines()[-1] == "Up: https://shop.example"


def test_invalid_setting_of_caddy_stops_a_deployment(stack):
    before = {name: one["Id"] for name, one in stack.containers().items()}

    failed = run("make", "deploy", cwd=stack.project, check=False, ACME_CA="my authority")

    assert failed.returncode
    assert "ACME_CA: Must be a URL that begins with https://." in failed.stdout
    assert {name: one["Id"] for name, one in stack.containers().items()} == before
    assert get("/livez").status == 200


def test_mistake_in_the_caddyfile_stops_a_deployment(stack):
    """It is found when the image is built."""
    before = {name: one["Id"] for name, one in stack.containers().items()}
    caddyfile = stack.project / "caddy/Caddyfile"
    text = caddyfile.read_text()
    change(caddyfile, "admin off", "admin of course")
    try:
        failed = run("make", "deploy", cwd=stack.project, check=False)
    finally:
        caddyfile.write_text(text)

    assert failed.returncode
    assert "Caddyfile:5" in failed.stdout
    assert {name: one["Id"] for name, one in stack.containers().items()} == before
    assert get("/livez").status == 200


@pytest.mark.weekly
@with_nginx
def test_new_definition_of_nginx_fails_no_request_behind_caddy(stack):
    """Such as a new version of its image: Caddy waits for the new container."""
    before = stack.containers()["nginx"]["Id"]
    compose = stack.project / "compose.yaml"
    head, name, rest = compose.read_text().partition("\n  nginx:\n")
    compose.write_text(head + name + rest.replace("memory: 512m", "memory: 600m", 1))

    load, deployed = deploy_under_load(stack)

    report(f"nginx was replaced behind Caddy: {load.outcome}; {load}")
    assert "nginx or its image has changed" in deployed
    assert stack.containers()["nginx"]["Id"] != before
    assert load.failed == []


AUTHORITY = """
services:
  caddy:
    environment: {SSL_CERT_FILE: /authority/ca.pem}
    networks: {front: {aliases: [%s]}}
    volumes: ["./authority:/authority:ro"]
  pebble:
    image: ghcr.io/letsencrypt/pebble:2.10
    command: [-config, /authority/pebble.json]
    environment: {PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: "0"}
    networks: [front]
    ports: ["127.0.0.1:%d:15000"]
    volumes: ["./authority:/authority:ro"]
"""


class Authority:
    """Pebble, in the network of the stack; Caddy trusts the certificate of its API."""

    def __init__(self, stack):
        self.stack, self.folder = stack, stack.project / "authority"
        self.folder.mkdir(exist_ok=True)
        file = AUTHORITY % (", ".join(HOSTS), ROOTS)
        (stack.project / "authority.yaml").write_text(file)
        own = trustme.CA()
        own.cert_pem.write_to_path(self.folder / "ca.pem")
        issued = own.issue_cert("pebble", "localhost")
        issued.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        issued.private_key_pem.write_to_path(self.folder / "key.pem")
        self.context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        self.lifetime(90 * 86_400)

    def lifetime(self, seconds):
        profile = {"description": "", "validityPeriod": seconds}
        pebble = {
            "listenAddress": "0.0.0.0:14000",
            "managementListenAddress": "0.0.0.0:15000",
            "certificate": "/authority/cert.pem",
            "privateKey": "/authority/key.pem",
            "httpPort": 80,
            "tlsPort": 443,
            "profiles": {"default": profile},
        }
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": pebble}))
        for file in self.folder.iterdir():
            file.chmod(0o644)

    def compose(self, *arguments):
        return self.stack.compose("-f", "authority.yaml", *arguments)

    def first_start(self):
        """Start Pebble, and Caddy without a certificate."""
        self.compose("up", "--detach", "--force-recreate", "pebble")
        self.compose("rm", "--stop", "--force", "caddy")
        run("docker", "volume", "rm", f"{self.stack.name}_caddy", cwd=self.stack.project)
        wait_for(self.roots, 60)
        self.compose("up", "--detach", "--build", "--wait", "--no-deps", "caddy")

    def roots(self):
        """Return the root certificate of what it issues."""
        address = f"https://localhost:{ROOTS}/roots/0"
        return urlopen(address, context=self.context, timeout=5).read().decode()

    def issued(self):
        """Return how many certificates it has issued."""
        return self.compose("logs", "pebble").stdout.count("Issued certificate serial")


def serial(host, roots):
    """Return the number of the certificate of a host, which has to be valid now."""
    connection = Secure(host, roots)
    connection.connect()
    found = x509.load_der_x509_certificate(connection.sock.getpeercert(binary_form=True))
    connection.close()
    return found.serial_number


def serials(roots):
    return {host: serial(host, roots) for host in HOSTS}


@pytest.fixture(scope="module")
def authority(stack):
    authority = Authority(stack)
    authority.first_start()
    return authority


@with_nginx
def test_each_host_has_a_certificate_that_a_restart_does_not_order_again(authority, stack):
    roots = authority.roots()
    took = wait_for(lambda: serials(roots), 30)
    before = serials(roots)

    authority.compose("restart", "caddy")
    wait_for(lambda: serials(roots), 60)

    report(f"{len(before)} certificates within {took:.1f} s of the first start")
    assert serials(roots) == before
    assert authority.issued() == len(set(before.values())) == len(HOSTS)


@with_nginx
def test_certificates_stay_while_the_authority_is_away(authority, stack):
    roots = authority.roots()
    before = serials(roots)

    authority.compose("stop", "pebble")
    authority.compose("restart", "caddy")
    wait_for(lambda: serials(roots), 60)

    assert serials(roots) == before
    assert get("/livez", HOSTS[0], roots).status == 200


def page_over_https():
    """Return what a load of pages needs."""
    connect = lambda *_, timeout: Secure("localhost", timeout=60)  # noqa: E731
    return {"page": lambda number: ("GET", "/", None)}, {"rate": 20, "connect": connect}


def short_certificates(authority, stack):
    """Let certificates be valid for seconds; Caddy checks them every second, not every ten minutes."""
    file = stack.project / "caddy/Caddyfile"
    if "renew_interval" not in file.read_text():
        change(file, "\tadmin off\n", "\tadmin off\n\trenew_interval 1s\n")
    authority.lifetime(LIFETIME)
    authority.first_start()
    roots = authority.roots()
    wait_for(lambda: serials(roots), 30)
    return roots


@with_nginx
def test_certificates_are_renewed_before_they_end_and_no_request_fails(authority, stack):
    roots = short_certificates(authority, stack)
    before = serials(roots)
    requests, options = page_over_https()

    begun = time.monotonic()
    with Load(443, requests, keep_alive=True, **options) as load:
        while set(before.values()) & set(serials(roots).values()):  # fails if one has ended
            assert time.monotonic() - begun < LIFETIME
            time.sleep(0.2)
    report(f"certificates for {LIFETIME} s were renewed {time.monotonic() - begun:.0f} s later; "
           f"{load.outcome}")  # fmt: skip
    assert load.failed == []


def is_valid(host, roots):
    try:
        return bool(serial(host, roots))
    except ssl.SSLError:
        return False


def errors_of(stack, host):
    """Return what Caddy has logged about the certificate of a host, as docs/deploy.md says."""
    lines = map(json.loads, stack.logs("caddy"))
    return [x for x in lines if x["level"] == "ERROR" and x.get("identifier") == host]


@pytest.mark.weekly
@with_nginx
def test_certificate_that_cannot_be_renewed_is_in_the_log_and_in_a_mail_of_cron(authority, stack):
    host, roots = HOSTS[0], short_certificates(authority, stack)
    pebble = authority.compose("ps", "--quiet", "pebble").stdout.strip()
    network = f"{stack.name}_front"

    run("docker", "network", "disconnect", network, pebble, cwd=stack.project)
    ended = wait_for(lambda: not is_valid(host, roots), 2 * LIFETIME)
    mail = monitor(stack, host)
    logged = wait_for(lambda: errors_of(stack, host), 240)
    error = errors_of(stack, host)[-1]
    run("docker", "network", "connect", "--alias=pebble", network, pebble, cwd=stack.project)
    authority.compose("restart", "caddy")
    again = wait_for(lambda: is_valid(host, roots), 60)
    authority.lifetime(90 * 86_400)
    authority.first_start()
    wait_for(lambda: is_valid(host, authority.roots()), 60)

    report(f"without an authority, certificates ended after {ended:.0f} s; the error was logged "
           f"{logged:.0f} s later ({error['message']}); after a restart of Caddy, valid within "
           f"{again:.0f} s")  # fmt: skip
    assert host in mail
    assert monitor(stack, host) == ""


def monitor(stack, host):
    """Return what the command for cron in docs/deploy.md prints, which cron mails."""
    document = (stack.project / "docs/deploy.md").read_text()
    [command] = re.findall(r"(?m)^0 6 \* \* \* (.+)$", document)
    there = f"-connect {ADDRESS}:443 -servername {host}"
    command = command.replace("-connect example.com:443", there).replace("example.com", host)
    return run("sh", "-c", command, cwd=stack.project).stdout
