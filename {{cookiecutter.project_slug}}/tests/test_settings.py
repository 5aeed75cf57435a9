import ast
import os
import re
import runpy
import secrets
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from config import env

ROOT = Path(__file__).parents[1]


def read(**environment: str) -> dict[str, Any]:
    """Read the settings anew, with nothing else in the environment."""
    with patch.dict(os.environ, {"APP_ENV": "production"} | environment, clear=True):
        return runpy.run_path(str(ROOT / "config/settings.py"))


def problems(**environment: str) -> dict[str, str]:
    """What is wrong with an environment, by variable."""
    with pytest.raises(SystemExit) as stop:
        read(**environment)
    first, *lines = str(stop.value.code).splitlines()
    assert first.startswith("These settings are wrong")
    return dict(line.strip().split(": ", 1) for line in lines)


def test_development_needs_a_key_only() -> None:
    assert read(APP_ENV="development", SECRET_KEY="any")["PRODUCTION"] is False


def test_production_says_all_that_it_lacks() -> None:
    assert {"SECRET_KEY", "TRUSTED_HOSTS"} <= set(problems())


def test_place_that_is_neither_counts_as_production() -> None:
    assert {"APP_ENV", "SECRET_KEY", "TRUSTED_HOSTS"} <= set(problems(APP_ENV="staging"))


def test_bad_setting_ends_the_process_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "APP_ENV": "production"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("These settings are wrong")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "key", ["", "short", "a" * 64, "change-me-change-me-change-me-change-me", "secret" * 8]
)
def test_key_that_can_be_guessed_is_refused(key: str) -> None:
    found = problems(SECRET_KEY=key)["SECRET_KEY"]

    assert "32 random characters" in found
    assert not key or key not in found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLASK_DEBUG", "1"),
        ("GRACEFUL_TIMEOUT", "0"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
        ("MAX_CONTENT_LENGTH", "1 MB"),
        ("PORT", "80000"),
        ("SECRET_KEY_FILE", "/nowhere"),
        ("TRUSTED_HOSTS", ""),
        ("TRUSTED_HOSTS", "a.example,,b.example"),
        ("TRUSTED_HOSTS", "https://a.example"),
        ("TRUSTED_HOSTS", "a.example:8000"),
        ("TRUSTED_HOSTS", "A.example"),
        ("TRUSTED_HOSTS", "*"),
        ("TRUSTED_PROXIES", "-1"),
        ("WEB_CONCURRENCY", "many"),
        ("WEB_THREADS", "0"),
    ],
)
def test_bad_value_is_named(name: str, value: str) -> None:
    assert problems(**{name: value})[name.removesuffix("_FILE")]


def test_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(secrets.token_urlsafe() + "\n")

    assert "SECRET_KEY" not in problems(SECRET_KEY_FILE=str(file))


def test_every_setting_is_explained() -> None:
    name = "[A-Z][A-Z0-9_]+"
    names = set(re.findall(rf"^(?:# )?({name})=", (ROOT / ".env.example").read_text(), re.M))
    tree = ast.parse((ROOT / "config/settings.py").read_text())
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}

    compose = (ROOT / "compose.yaml").read_text() + (ROOT / "compose.override.yaml").read_text()
    read_by_compose = set(re.findall(rf"\$[^$\w]({name})", compose))
    passed_on = set(re.findall(rf"^      ({name}):", compose, re.M))
    levels = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
    read_here = {text for text in strings if re.fullmatch(name, str(text))} - levels
    assert names == read_here | read_by_compose
    assert read_here - {"PORT"} <= passed_on


def test_env_file_gets_fresh_secrets_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("A=change-me\n# B=1\nC=change-me\n")

    assert env.write(tmp_path) == ["A", "C"]
    lines = (tmp_path / ".env").read_text().splitlines()
    assert env.write(tmp_path) == []

    assert lines == (tmp_path / ".env").read_text().splitlines()
    assert lines[1] == "# B=1"
    assert len({lines[0][2:], lines[2][2:]}) == 2
    assert min(len(lines[0]), len(lines[2])) > 40
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_env_file_gets_what_it_lacks_and_keeps_the_rest(tmp_path: Path) -> None:
    example = "# Of old.\nA=1\nOFF=1\n\n# Of now.\nB=change-me\nC=3\n\n# D=4\n"
    mine = "A = mine\n# OFF=1\nexport B=mine too\n"
    (tmp_path / ".env.example").write_text(example)
    (tmp_path / ".env").write_text(mine)

    assert env.write(tmp_path) == ["C"]

    assert (tmp_path / ".env").read_text() == f"{mine}\n# Of now.\nC=3\n"


def test_env_file_may_have_any_encoding(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("A=1\nB=2\n")
    (tmp_path / ".env").write_bytes(b"A=\xfc\n")

    assert env.write(tmp_path) == ["B"]

    assert (tmp_path / ".env").read_bytes() == b"A=\xfc\n\nB=2\n"


def test_make_env_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    copy = tmp_path / "config/env.py"
    copy.write_text((ROOT / "config/env.py").read_text())
    (tmp_path / ".env.example").write_text("A=change-me\n")

    for _ in range(2):
        runpy.run_path(str(copy), run_name="__main__")

    assert capsys.readouterr().out.splitlines() == [
        "Written to .env: A.",
        "Nothing is missing in .env.",
    ]
