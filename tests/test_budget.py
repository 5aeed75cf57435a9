"""What a request costs, in figures that do not depend on the speed of the machine."""

import json
import re
from pathlib import Path

import pytest
from conftest import FULL, run
from stacks import report

# Function calls, SQL statements and Redis commands of one request; a little more than measured.
BUDGET = {
    "liveness": {"calls": 970},
    "page": {"calls": 1_840},
    "list": {"calls": 3_010, "statements": 1, "commands": 5},
    "cached list": {"calls": 1_770, "commands": 2},
}
MODULES = 795
IMAGE = 66_000_000  # bytes beside those of the base image


@pytest.fixture(scope="module")
def costs(cookies_session):
    project = cookies_session.bake(extra_context=FULL).project_path
    settings = {"APP_ENV": "development", "LOG_FORMAT": "json"}
    for command in (["db", "upgrade"], ["seed"]):
        run("uv", "run", "flask", "--app=my_service", *command, cwd=project, **settings)
    script = Path(__file__).with_name("budget.py")
    done = run("uv", "run", "python", script, "my_service", cwd=project, **settings)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("request_", BUDGET)
def test_request_stays_within_its_budget(costs, request_):
    over = {
        kind: (found, BUDGET[request_].get(kind, 0))
        for kind, found in costs[request_].items()
        if found > BUDGET[request_].get(kind, 0)
    }

    assert over == {}, costs


def test_service_imports_no_more_than_it_did(costs):
    assert costs["modules"] <= MODULES


@pytest.mark.docker
@pytest.mark.xdist_group("docker")
def test_image_adds_no_more_than_it_did(lab):
    size = "docker image inspect --format={{.Size}}".split()
    [base] = re.findall(
        r"^FROM (python:\S+) AS production", (lab.project / "Dockerfile").read_text(), re.M
    )

    run("docker", "run", "--rm", base, "true", cwd=lab.project)  # a build alone does not keep it
    added = [int(run(*size, image, cwd=lab.project).stdout) for image in (f"{lab.name}-web", base)]

    report(f"the image adds {(added[0] - added[1]) / 1e6:.1f} MB")
    assert added[0] - added[1] <= IMAGE
