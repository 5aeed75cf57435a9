import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import time
from types import SimpleNamespace

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from config import gunicorn

ROOT = Path(__file__).parents[2]
PROCESS = """
import sys
from flask import Flask
from {{ cookiecutter.project_slug }} import core
app = Flask("{{ cookiecutter.project_slug }}", instance_path=sys.argv[1])
app.config.from_object("config.settings")
app.config.from_mapping(METRICS_TOKEN=None, TESTING=True)
core.init_app(app)
client = app.test_client()
print([client.get(path, headers={"Accept": "application/json"}).text for path in sys.argv[2:]][-1])
"""

Labels = dict[str, str]


def samples(text: str, name: str) -> list[tuple[Labels, float]]:
    """Return the labels and the value of each series with this name."""
    families = text_string_to_metric_families(text)
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return [(sample.labels, sample.value) for sample in found]


def scrape(app: Flask, name: str) -> list[tuple[Labels, float]]:
    return samples(app.test_client().get("/metrics").text, name)


def test_start_is_that_of_the_application(make_app: Callable[..., Flask]) -> None:
    before = time()
    app = make_app(METRICS_TOKEN=None)
    after = time()

    [(labels, started)] = scrape(app, "service_started_seconds")
    assert before <= started <= after
    assert labels == {}


def test_metrics_are_those_of_all_processes(tmp_path: Path) -> None:
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    process = [sys.executable, "-c", PROCESS, str(tmp_path / "instance")]

    for paths in (["/nope", "/nope"], ["/nope", "/metrics"]):
        text = subprocess.check_output([*process, *paths], cwd=ROOT, env=env, text=True)

    [(labels, count)] = samples(text, "http_request_duration_seconds_count")
    assert (labels["status"], count) == ("404", 3)
    assert "pid=" not in text


def test_worker_that_has_exited_is_not_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    names = ["counter_7.db", "gauge_livesum_7.db", "gauge_livesum_8.db", "gauge_mostrecent_7.db"]
    for name in names:
        (tmp_path / name).touch()

    gunicorn.child_exit(None, SimpleNamespace(pid=7))

    assert {path.name for path in tmp_path.iterdir()} == {*names} - {"gauge_livesum_7.db"}
