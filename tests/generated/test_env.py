"""A line of .env means the same to Docker Compose and to python-dotenv, or is refused."""

import json
import re
import runpy
import shutil
from random import Random

import pytest
from dotenv import dotenv_values
from projects import ENVIRONMENT, WITH_ALL, run

pytestmark = pytest.mark.skipif(
    not shutil.which("docker", path=ENVIRONMENT["PATH"]), reason="needs Docker Compose"
)
# What is after the name, and whether it is accepted
LINES = {
    "=plain": True,
    "=with spaces  inside ": True,
    "= after a space": True,
    " = after two spaces": True,
    "=": True,
    "=''": True,
    "=a#b": True,
    "=a # a comment with $1 and 'quotes'": True,
    "=it's": True,
    '=say "hi"': True,
    "=back\\slash\\n": True,
    "=line end of Windows\r": True,
    "=${OTHER} and ${NONE}": True,
    "='single $5 $$ \"#` \t' # comment": True,
    '="double \'#`" # comment': True,
    '="double ${OTHER}"': True,
    "=postgresql://user:p%24ss@host/name?a=b&c=d": True,
    "=ü🚀": True,
    "=a$b": False,
    "=$OTHER": False,
    "=a$$b": False,
    "=${NONE-default}": False,
    "=${": False,
    "='${OTHER}'": False,
    '="$OTHER"': False,
    '="a\\$b"': False,
    "=a\\$b": False,
    "='back\\\\slash'": False,
    "='a\\'": False,
    "='it''s'": False,
    "='a'b": False,
    '="a"b': False,
    "='open": False,
    "=a\t# comment": False,
    "= # comment": False,
    "=a\u00a0# comment": False,
    ": yaml": False,
    "": False,
    " without a sign": False,
}


def meanings(folder, text, names=("V",)):
    """Return the values that python-dotenv and Compose read from a file; None is an error."""
    (folder / ".env").write_text(text, newline="")
    variables = "".join(f"      {name}: '${{{name}-unset}}'\n" for name in names)
    service = f"services:\n  a:\n    image: a\n    environment:\n{variables}"
    (folder / "compose.yaml").write_text(service)
    config = ("docker", "compose", "config", "--format=json")
    done = run(*config, cwd=folder, check=False, OTHER="other")
    dotenv = dotenv_values(folder / ".env")
    if done.returncode:
        return [dotenv.get(name) for name in names], None
    compose = json.loads(done.stdout[done.stdout.index("{") :])["services"]["a"]["environment"]
    return [dotenv.get(n) for n in names], [compose[n].replace("$$", "$") for n in names]


@pytest.fixture
def check(bake, no_lock):
    return runpy.run_path(str(bake() / "bin/env"))["check"]


@pytest.mark.parametrize("line", LINES)
def test_accepted_line_means_the_same(check, monkeypatch, tmp_path, line):
    monkeypatch.setenv("OTHER", "other")
    text = f"V{line}\nOTHER_LINE=1\n"

    dotenv, compose = meanings(tmp_path, text)

    assert (check(tmp_path) == []) is LINES[line]
    assert (dotenv == compose) is LINES[line]


def test_random_accepted_values_mean_the_same(check, tmp_path):
    random = Random(23)
    values = [
        "".join(random.choices("ab '\"\\#$={}A\t", k=random.randint(0, 8))) for _ in range(3_000)
    ]
    accepted = []
    for value in values:
        (tmp_path / ".env").write_text(f"V={value}\n")
        accepted += [value] if check(tmp_path) == [] else []
    names = [f"V{number}" for number in range(len(accepted))]
    lines = [f"{name}={value}\n" for name, value in zip(names, accepted, strict=True)]

    assert len(accepted) > 300
    dotenv, compose = meanings(tmp_path, "A=1\n" + "".join(lines), names)
    assert dotenv == compose


@WITH_ALL
def test_commands_stop_at_a_line_with_two_meanings(bake, project):
    fresh = bake()
    shutil.copytree(project, fresh, dirs_exist_ok=True)
    with (fresh / ".env").open("a") as file:
        file.write("SECRET_KEY_FALLBACKS=pa$$word\n")

    for target in ("up", "run", "deploy", "shell", "migrate", "test-stack"):
        done = run("make", target, cwd=fresh, check=False)
        assert done.returncode == 2, target
        assert "pa$$word" not in done.stdout
        [line] = re.findall(r"^\.env, line .*", done.stdout, re.M)
        assert re.search(r"line \d+: .* read SECRET_KEY_FALLBACKS differently: put .*\.$", line)
