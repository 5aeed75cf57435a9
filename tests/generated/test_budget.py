"""Limits of a request, in figures that do not depend on the speed of the machine."""

import json
import re

import pytest
from figures import report
from projects import PAYLOADS, WITH_ALL, run

# Function calls, SQL statements and Redis commands of one request; a little more than measured.
BUDGET = {
    "liveness": {"calls": 970},
    "page": {"calls": 1_800},
    "list": {"calls": 2_860, "statements": 1, "commands": 5},
    "cached list": {"calls": 1_770, "commands": 2},
}
MODULES = 830
IMAGE = 66_000_000  # bytes without the base image


@pytest.fixture(scope="module")
def costs(project):
    settings = {"APP_ENV": "development", "LOG_FORMAT": "json"}
    for command in (["db", "upgrade"], ["seed"]):
        run("uv", "run", "flask", "--app=my_service", *command, cwd=project, **settings)
    script = PAYLOADS / "budget.py"
    done = run("uv", "run", "python", script, "my_service", cwd=project, **settings)
    return json.loads(done.stdout.splitlines()[-1])


@WITH_ALL
@pytest.mark.parametrize("request_", BUDGET)
def test_request_stays_within_its_budget(costs, request_):
    over = {
        kind: (found, BUDGET[request_].get(kind, 0))
        for kind, found in costs[request_].items()
        if found > BUDGET[request_].get(kind, 0)
    }

    assert over == {}, costs


@WITH_ALL
def test_number_of_imported_modules_is_limited(costs):
    assert costs["modules"] <= MODULES


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_size_of_the_image_is_limited(full_stack):
    size = "docker image inspect --format={{.Size}}".split()
    [base] = re.findall(
        r"^FROM (python:\S+) AS production", (full_stack.project / "Dockerfile").read_text(), re.M
    )

    run("docker", "run", "--rm", base, "true", cwd=full_stack.project)  # a build does not store it
    added = [
        int(run(*size, image, cwd=full_stack.project).stdout)
        for image in (f"{full_stack.name}-web", base)
    ]

    report(f"the image adds {(added[0] - added[1]) / 1e6:.1f} MB")
    assert added[0] - added[1] <= IMAGE
