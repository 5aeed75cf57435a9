import re
import runpy
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCTION = {"APP_ENV": "production"}
DEVELOPMENT = {"APP_ENV": "development"}
INVALID = """
    FLASK_DEBUG=1 GRACEFUL_TIMEOUT=0 LOG_FORMAT=xml LOG_LEVEL=LOUD MAX_CONTENT_LENGTH=1MB PORT=80000
    SECRET_KEY_FILE=/nowhere TRUSTED_HOSTS= TRUSTED_HOSTS=a.example,,b.example TRUSTED_HOSTS=*
    TRUSTED_HOSTS=https://a.example TRUSTED_HOSTS=a.example:8000 TRUSTED_HOSTS=A.example
    TRUSTED_PROXIES=-1 WEB_CONCURRENCY=many WEB_THREADS=0
"""

Problems = Callable[[dict[str, str]], dict[str, str]]


@pytest.mark.parametrize("environment", [{}, PRODUCTION, {"APP_ENV": "staging"}])
def test_production_is_the_default(problems: Problems, environment: dict[str, str]) -> None:
    assert {"SECRET_KEY", "TRUSTED_HOSTS"} <= problems(environment).keys()


def test_development_accepts_more(problems: Problems) -> None:
    found = problems(DEVELOPMENT | {"SECRET_KEY": "short"})

    assert not {"SECRET_KEY", "TRUSTED_HOSTS"} & found.keys()


@pytest.mark.parametrize("line", INVALID.split())
def test_invalid_value_is_rejected(problems: Problems, line: str) -> None:
    name, _, value = line.partition("=")

    assert name.removesuffix("_FILE") in problems(PRODUCTION | {name: value})


@pytest.mark.parametrize("key", ["short", "a" * 64, "change-me" * 4, "secret" * 8])
def test_weak_key_is_rejected_and_not_shown(problems: Problems, key: str) -> None:
    keys = {"SECRET_KEY": key, "SECRET_KEY_FALLBACKS": f"{secrets.token_hex()},{key}"}

    found = problems(PRODUCTION | keys)

    assert keys.keys() <= found.keys()
    assert key not in str(found)


@pytest.mark.parametrize("environment", [PRODUCTION, DEVELOPMENT])
def test_empty_key_is_rejected(problems: Problems, environment: dict[str, str]) -> None:
    keys = {"SECRET_KEY": "", "SECRET_KEY_FALLBACKS": f"{secrets.token_hex()},"}

    assert keys.keys() <= problems(environment | keys).keys()


def test_strong_keys_are_accepted(problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(secrets.token_urlsafe() + "\n")
    fallbacks = f"{secrets.token_hex()}, {secrets.token_hex()}"
    keys = {"SECRET_KEY_FILE": f"{tmp_path}/key", "SECRET_KEY_FALLBACKS": fallbacks}

    assert not {"SECRET_KEY", "SECRET_KEY_FALLBACKS"} & problems(PRODUCTION | keys).keys()


def test_invalid_settings_end_the_process_without_a_traceback() -> None:
    server = [sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn"]

    done = subprocess.run(server, cwd=ROOT, env=PRODUCTION, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("Invalid settings")
    assert "Traceback" not in done.stderr


class Environment(dict[str, str]):
    """Environment variables; ``read`` collects the names of those that are not set."""

    read: set[str] = set()

    def __missing__(self, name: str) -> str:
        self.read.add(name)
        raise KeyError(name)


@pytest.mark.skipif(not (ROOT / "compose.yaml").exists(), reason="the image has no compose.yaml")
def test_every_setting_is_documented_and_passed_on(problems: Problems) -> None:
    problems(environment := Environment(PRODUCTION))

    documented = re.findall(r"(?m)^(?:# )?(\w+)=", (ROOT / ".env.example").read_text())
    compose = [(ROOT / file).read_text() for file in ("compose.yaml", "compose.override.yaml")]
    web = "".join(re.findall(r"(?ms)^  web:.*?(?=^ {0,2}\w|\Z)", text)[0] for text in compose)
    assert {"LOG_LEVEL", "SECRET_KEY"} <= environment.read <= set(documented)
    assert environment.read - {"PORT"} <= set(re.findall(r"(?m)^      (\w+):", web))


def add_missing(folder: Path, example: str) -> list[str]:
    """Write .env in ``folder`` as ``make env`` does; return the names of what was added."""
    (folder / ".env.example").write_text(example)
    added: list[str] = runpy.run_path(str(ROOT / "bin/env"))["write"](folder)
    return added


def test_env_file_has_new_secrets_and_is_private(tmp_path: Path) -> None:
    added = add_missing(tmp_path, "A=change-me\n# B=1\nC=change-me\n")

    first, comment, second = (tmp_path / ".env").read_text().splitlines()
    assert (added, comment) == (["A", "C"], "# B=1")
    assert min(len(first), len(second)) > 40
    assert first[2:] != second[2:]
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_env_file_gets_what_it_lacks_and_keeps_the_rest(tmp_path: Path) -> None:
    old = b"A = mine\n# OFF=1\nexport B=m\xfcne too\n"
    (tmp_path / ".env").write_bytes(old)

    added = [add_missing(tmp_path, "A=1\nOFF=1\n\n# B.\nB=change-me\nC=3\n") for _ in range(2)]

    assert added == [["C"], []]
    assert (tmp_path / ".env").read_bytes() == old + b"\nC=3\n"
