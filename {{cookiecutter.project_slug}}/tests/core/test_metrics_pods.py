from pathlib import Path

import pytest

from config import gunicorn


def test_container_that_was_killed_has_nothing_in_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for name in ("counter_7.db", "gauge_livesum_7.db", "gauge_mostrecent_7.db"):
        (tmp_path / name).touch()

    gunicorn.when_ready(None)

    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"counter_7.db", "gauge_mostrecent_7.db"}
