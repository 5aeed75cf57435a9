"""What a hostile client sends costs little more than what others send: ratios, in one run."""

import json

import pytest
from figures import report
from projects import PAYLOADS, WITH_ALL, run

FLOOR = 1  # millisecond: less is not worth a comparison
ACCEPTED = {"note", "text", "emoji"}


@WITH_ALL
@pytest.mark.parametrize("size", [131_072, 930_000])
def test_json_of_any_shape_costs_little_more_than_a_note(project, size):
    settings = {
        "APP_ENV": "development",
        "LOG_FORMAT": "json",
        "DATABASE_URL": "sqlite:///costs.db",
    }
    run("uv", "run", "flask", "--app=my_service", "db", "upgrade", cwd=project, **settings)
    script = PAYLOADS / "costs.py"

    done = run("uv", "run", "python", script, "my_service", str(size), cwd=project, **settings)

    costs = json.loads(done.stdout.splitlines()[-1])
    valid = max(FLOOR, *(costs[name][0] for name in ACCEPTED))
    ratios = {name: round(cost[0] / valid, 1) for name, cost in costs.items()}
    report(
        f"{size} bytes of JSON: a note {valid:.1f} ms, others up to {max(ratios.values())} times"
    )
    assert {name: ratio for name, ratio in ratios.items() if ratio > 3} == {}
    assert {name: cost for name, cost in costs.items() if cost[2] > 1_000}.keys() <= ACCEPTED
    accepted = {name for name, cost in costs.items() if cost[1] == 201}
    assert accepted == (ACCEPTED if size == 131_072 else set())


@WITH_ALL
def test_reads_of_any_kind_cost_little_more_than_ordinary_ones(project):
    """The last page of a list, and errors whose Accept header has 24 kB."""
    settings = {
        "APP_ENV": "development",
        "LOG_FORMAT": "json",
        "DATABASE_URL": "sqlite:///reads.db",
    }
    run("uv", "run", "flask", "--app=my_service", "db", "upgrade", cwd=project, **settings)

    done = run("uv", "run", "python", PAYLOADS / "reads.py", "my_service", cwd=project, **settings)

    costs = json.loads(done.stdout.splitlines()[-1])
    report("; ".join(f"{name}: {cost:.1f} ms" for name, cost in costs.items()))
    assert costs["last page"] <= 3 * max(FLOOR, costs["first page"])
    for name in ("many types", "many spaces", "many parameters"):
        assert costs[f"error, {name}"] <= 3 * max(FLOOR, costs["error"]), name
