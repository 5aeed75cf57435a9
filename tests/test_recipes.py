"""The recipes in docs/recipes/ for other databases and platforms work as they are written."""

import pytest
from conftest import FULL, run
from recipes import recipe
from stacks import trial, wait_for

docker = [pytest.mark.docker, pytest.mark.xdist_group("docker-untimed")]


