"""Metrics: totals are correct, a real Prometheus collects them, and alerts and dashboard use them."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from dotenv import dotenv_values
from figures import report
from projects import BARE, FULL, commands, each_combination, run
from stacks import temporary_stack, unique_name, wait_for

docker = [pytest.mark.docker, pytest.mark.xdist_group("metrics")]
PROMETHEUS = "prom/prometheus:v3.5.3"
PORT = 8224
SCRAPE = """
import os, urllib.request as u
headers = {"Authorization": "Bearer " + os.environ["METRICS_TOKEN"]}
print(u.urlopen(u.Request("http://127.0.0.1:8000/metrics", headers=headers)).read().decode())
"""
UNAUTHORIZED = """
import urllib.error, urllib.request as u
try:
    u.urlopen("http://127.0.0.1:8000/metrics")
except urllib.error.HTTPError as error:
    print(error.code)
"""
PAGE = 'http_request_duration_seconds_count{method="GET",route="/",status="200"}'
KILL = """
master=$(tr -d ' ' < /proc/1/task/1/children)
kill -9 $(cat /proc/$master/task/$master/children)
"""


@pytest.fixture(scope="module")
def stack(engine, cookies_session):
    with temporary_stack(cookies_session, FULL | {"use_metrics": True}, "monitor", 8223) as stack:
        with (stack.project / ".env").open("a") as settings:
            settings.write("RATE_LIMIT=100000r/s\nRATE_BURST=10000\n")
        stack.up()
        yield stack


def metrics(stack):
    return stack.inside("web", "python", "-c", SCRAPE)


def value(text, series):
    return sum(float(n) for n in re.findall(rf"^{re.escape(series)}\S* (\S+)$", text, re.M))


class TestStack:
    """With containers."""

    pytestmark = docker

    def test_totals_are_those_of_the_client_even_after_workers_were_killed(self, stack):
        before = value(metrics(stack), PAGE)

        for _ in range(200):
            assert stack.get("/").status == 200
        counted = value(metrics(stack), PAGE)
        stack.inside("web", "sh", "-c", KILL)
        wait_for(lambda: stack.get("/livez").status == 200, 60)

        after = metrics(stack)
        assert counted == before + 200
        assert value(after, PAGE) == counted
        assert value(after, "http_requests_active") == 0
        assert 0 < value(after, "database_connections") < 100
        started = value(after, "service_started_seconds")
        assert started == value(metrics(stack), "service_started_seconds") > 1e9

    def test_unknown_paths_make_no_series(self, stack):
        stack.get("/unknown")
        before = metrics(stack).count("\n")

        for number in range(1_000):
            assert stack.get(f"/unknown/{number}").status == 404

        assert metrics(stack).count("\n") == before

    def test_metrics_are_not_public(self, stack):
        for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics", "/x/../metrics/y"):
            response = stack.get(path, Authorization="Bearer x")
            problem = json.loads(response.text)
            assert (response.status, problem["status"], problem["title"]) == (404, 404, "Not Found")
            assert problem["detail"]
        assert stack.inside("web", "python", "-c", UNAUTHORIZED) == "401\n"


@pytest.fixture(scope="module")
def prometheus(stack):
    """Start Prometheus as docs/monitor.md describes, and return a function that queries it."""
    project = stack.project
    token = project / "prometheus/token"
    token.write_text(dotenv_values(project / ".env")["METRICS_TOKEN"])
    token.chmod(0o644)
    [command, _] = commands((project / "docs/monitor.md").read_text())
    command = command.replace("run ", f"run --name={unique_name('prometheus')} ", 1)
    command = command.replace("user_front", f"{stack.name}_front").replace("9090:", f"{PORT}:")
    started = run("sh", "-c", command, cwd=project).stdout.split()[-1]

    def ask(path):
        return json.load(urlopen(f"http://127.0.0.1:{PORT}/api/v1/{path}", timeout=10))["data"]

    try:
        wait_for(lambda: ask("query?query=up==1")["result"], 60)
        yield ask
    finally:
        run("docker", "rm", "--force", "--volumes", started, cwd=project)


class TestPrometheus:
    """With a Prometheus in the network of the stack."""

    pytestmark = [*docker, pytest.mark.weekly]

    def test_alert_reports_a_stopped_dependency(self, stack, prometheus):
        def alerts():
            found = [alert["labels"] for alert in prometheus("alerts")["alerts"]]
            return {one["name"] for one in found if one["alertname"] == "DependencyDown"}

        assert alerts() == set()
        stack.compose("stop", "postgres")
        try:
            wait_for(lambda: alerts() == {"postgres"}, 60)
        finally:
            stack.compose("start", "postgres")
        wait_for(lambda: alerts() == set(), 60)

    def test_each_query_of_the_dashboard_returns_data(self, stack, prometheus):
        dashboard = json.loads((stack.project / "grafana/dashboard.json").read_text())
        queries = [one["expr"] for panel in dashboard["panels"] for one in panel["targets"]]

        stack.get("/")

        assert len(queries) == 9
        for query in queries:
            wait_for(lambda query=query: prometheus(f"query?query={quote(query)}")["result"], 60)

    def test_totals_are_those_of_the_client_after_a_deployment(self, stack, prometheus):
        def samples():
            found = prometheus(f"query?query={quote(PAGE)}[10m]")["result"]
            return sorted([(at, int(total)) for at, total in one["values"]] for one in found)

        before, sent = value(metrics(stack), PAGE), []
        with ThreadPoolExecutor() as pool:
            deployment = pool.submit(run, "make", "deploy", cwd=stack.project)
            while not deployment.done():
                assert stack.get("/").status == 200
                sent.append(time.time())
        assert deployment.exception() is None
        wait_for(lambda: samples()[-1][-1][0] > sent[-1], 60)

        old, new = samples()
        seen = old[-1][1] - before + new[-1][1]
        report(f"deployment: {seen:.0f} of {len(sent)} requests are in Prometheus")
        for totals in ([total for _, total in one] for one in (old, new)):
            assert totals == sorted(totals)
        assert new[-1][1] == value(metrics(stack), PAGE)
        # Prometheus does not know the last requests of the old container, after it was collected.
        assert sum(at < old[-1][0] for at in sent) <= seen <= len(sent)


START = "from config import gunicorn; gunicorn.when_ready(None)"


def test_start_in_a_pod_forgets_requests_of_a_killed_container(bake, tmp_path):
    """Containers of a pod share /dev/shm, which a restart of one does not empty."""
    project = bake(**BARE | {"use_metrics": True, "use_kubernetes": True})
    (shared := tmp_path / "shm").mkdir()
    for name in ("gauge_livesum_7.db", "counter_7.db"):
        (shared / name).touch()

    run("uv", "run", "python", "-c", START, cwd=project, PROMETHEUS_MULTIPROC_DIR=str(shared))

    assert [file.name for file in shared.iterdir()] == ["counter_7.db"]


@pytest.mark.docker
@each_combination("use_metrics")
def test_rules_and_their_tests_are_accepted(engine, project):
    [_, test] = commands((project / "docs/monitor.md").read_text())
    for command in (test, test.replace("test rules", "check rules").replace("_test", "")):
        run("sh", "-c", command, cwd=project)
    dashboard = json.loads((project / "grafana/dashboard.json").read_text())
    assert dashboard["title"] == "My Service"
