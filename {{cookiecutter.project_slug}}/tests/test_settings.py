import re
import runpy
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PRODUCTION, DEVELOPMENT = {"APP_ENV": "production"}, {"APP_ENV": "development"}
INVALID = """
    FLASK_DEBUG=1 GRACEFUL_TIMEOUT=0 LOG_FORMAT=xml LOG_LEVEL=LOUD MAX_CONTENT_LENGTH=1MB PORT=80000
    SECRET_KEY_FILE=/nowhere TRUSTED_HOSTS= TRUSTED_HOSTS=a.example,,b.example TRUSTED_HOSTS=*
    TRUSTED_HOSTS=https://a.example TRUSTED_HOSTS=a.example:8000 TRUSTED_HOSTS=A.example
    TRUSTED_PROXIES=-1 WEB_CONCURRENCY=many WEB_THREADS=0 BIND_ADDRESS=example.com
"""

SOURCE = (ROOT / "config/settings.py").read_text()

BIN_ENV = runpy.run_path(str(ROOT / "bin/env"))
write_env, check_env, misspelled = BIN_ENV["write"], BIN_ENV["check"], BIN_ENV["misspelled"]


def test_production_is_the_default(problems: Callable[..., dict[str, str]]) -> None:
    required = {"SECRET_KEY", "TRUSTED_HOSTS"}

    for environment in ({}, PRODUCTION, {"APP_ENV": "staging"}):
        assert required <= problems(environment).keys()
    assert not required & problems(DEVELOPMENT | {"SECRET_KEY": "short"}).keys()


@pytest.mark.parametrize("line", INVALID.split())
def test_invalid_value_is_rejected(problems: Callable[..., dict[str, str]], line: str) -> None:
    name, _, value = line.partition("=")

    assert name.removesuffix("_FILE") in problems(PRODUCTION | {name: value})


@pytest.mark.parametrize("key", ["", "short", "a" * 64, "change-me" * 4, "secret" * 8])
def test_weak_key_is_rejected(problems: Callable[..., dict[str, str]], key: str) -> None:
    keys = {"SECRET_KEY": key, "SECRET_KEY_FALLBACKS": f"{secrets.token_hex()},{key}"}

    for environment in [PRODUCTION] if key else [PRODUCTION, DEVELOPMENT]:
        found = problems(environment | keys)
        assert keys.keys() <= found.keys()
        assert not key or key not in found["SECRET_KEY"] + found["SECRET_KEY_FALLBACKS"]


def test_strong_keys_are_accepted(problems: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(secrets.token_urlsafe() + "\n")
    fallbacks = f"{secrets.token_hex()}, {secrets.token_hex()}"
    keys = {"SECRET_KEY_FILE": f"{tmp_path}/key", "SECRET_KEY_FALLBACKS": fallbacks}

    assert not {"SECRET_KEY", "SECRET_KEY_FALLBACKS"} & problems(PRODUCTION | keys).keys()


def test_unreadable_file_of_any_setting_is_reported_in_one_line(
    problems: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    names = sorted(set(re.findall(r'(?:read\(\s*env\.\w+,|number\()\s*"(\w+)"', SOURCE)))
    assert {"APP_ENV", "FLASK_DEBUG", "PORT", "SECRET_KEY"} <= set(names)

    for file in ("nowhere", "", "binary", "binary/file", "x" * 300):
        files = {f"{name}_FILE": f"{tmp_path}/{file}" for name in names}
        found = problems(PRODUCTION | files)
        for name in names:
            assert found[name] == f"{name}_FILE must be the path of a text file that can be read."


def test_invalid_settings_stop_the_process_without_a_traceback() -> None:
    server = [sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn"]

    done = subprocess.run(server, cwd=ROOT, env=PRODUCTION, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Invalid settings")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not (ROOT / "compose.yaml").exists(), reason="the image has no compose.yaml")
def test_settings_are_documented_and_in_compose(
    read_settings: Callable[..., dict[str, Any]],
) -> None:
    settings = read_settings(DEVELOPMENT | {"SECRET_KEY": "any"})
    names = set(settings["env"].dump())
    documented = re.findall(r"(?m)^(?:# )?(\w+)=", (ROOT / ".env.example").read_text())
    files = [(ROOT / file).read_text() for file in ("compose.yaml", "compose.override.yaml")]
    web = [re.findall(r"(?ms)^  web:.*?(?=^ {0,2}\w|\Z)", text)[0] for text in files]
    environment = re.findall(r"(?m)^      (\w+):", "\n".join(web))
    ports_and_replicas = re.findall(r"(?m)^ +(?:- \$|replicas:).*", "\n".join(files))
    by_compose = {"PORT", *re.findall(r"\$\{(\w+)", "\n".join(ports_and_replicas))}

    assert {"LOG_LEVEL", "SECRET_KEY"} <= names
    undocumented = names - set(documented)
    assert not undocumented, f"add {undocumented} to .env.example"
    not_passed = names - by_compose - set(environment)
    assert not not_passed, f"add {not_passed} to environment of web in compose.yaml"


def test_env_file_has_new_secrets_and_is_private(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("A=change-me\n# B=1\nC=change-me\n")

    assert write_env(tmp_path) == ["A", "C"]

    first, comment, second = (tmp_path / ".env").read_text().splitlines()
    assert comment == "# B=1"
    assert min(len(first), len(second)) > 40
    assert first[2:] != second[2:]
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_missing_variables_are_added_to_the_env_file(tmp_path: Path) -> None:
    old = b"A = mine\n# OFF=1\nexport B=m\xfcne too\n"
    (tmp_path / ".env").write_bytes(old)
    (tmp_path / ".env.example").write_text("A=1\nOFF=1\n\n# B.\nB=change-me\nC=3\n")

    assert [write_env(tmp_path), write_env(tmp_path)] == [["C"], []]

    assert (tmp_path / ".env").read_bytes() == old + b"\nC=3\n"


def test_env_file_with_one_meaning_is_accepted(tmp_path: Path) -> None:
    assert check_env(tmp_path) == []
    plain = "A=b\r\n\n  # it's $1\nexport B = b c # it's $1\nC=it's\nD=\nE=${A}/${B}\n"
    quoted = "F='a$b # \"c\"' # d\nG=\"it's ${A}\"\nH=''\n"
    (tmp_path / ".env").write_text(plain + quoted)

    assert check_env(tmp_path) == []


@pytest.mark.parametrize(
    "value",
    ["a$b", "$a", "a$$b", "a${b-c}", "'${a}'", "'a\\'b'", "'a'b", "'a", '"$a"', '"a\\$b"', "a\t#b"],
)
def test_env_file_with_two_meanings_is_rejected(tmp_path: Path, value: str) -> None:
    (tmp_path / ".env").write_text(f"A=1\nSECRET={value}\n# C=3\nD\n")

    first, second = check_env(tmp_path)

    assert first.startswith(".env, line 2: Compose and `make run` read SECRET differently: ")
    assert value not in first
    assert second == ".env, line 4: write NAME=value, or a comment."


def test_misspelled_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("SECRET_KEY=change-me\n# LOG_LEVEL=INFO\n")
    assert misspelled(tmp_path) == []
    others = "SECRET_KEY_FILE=/key\nCOMPOSE_FILE=compose.yaml\n# LOGLEVEL=1\n"
    (tmp_path / ".env").write_text(f"{others}secret_key=1\nexport LOG_LEVL = DEBUG\n")

    assert misspelled(tmp_path) == [
        ".env: secret_key is not a setting. Is SECRET_KEY meant?",
        ".env: LOG_LEVL is not a setting. Is LOG_LEVEL meant?",
    ]
