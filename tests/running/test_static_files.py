"""Static files of a stack with nginx, and of one without."""

import pytest
from stacks import stylesheet

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]


def test_parts_of_a_static_file_can_be_requested(either_stack):
    for path in (
        "/static/photo.jpg",
        stylesheet(either_stack)[0].replace("style.css", "photo.jpg"),
    ):
        whole = either_stack.get(path)
        part = either_stack.get(path, Range="bytes=10-19")

        assert (part.status, part.content) == (206, whole.content[10:20])
        assert part.getheader("Content-Range") == f"bytes 10-19/{len(whole.content)}"
