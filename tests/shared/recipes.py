"""Follows the recipes in docs/recipes/ in a generated project, step by step.

A recipe is written for a project with the package ``shop``. Its steps are links such as "Copy [`auth.py`](login/auth.py)
to `shop/auth.py`", for which docs/recipes/login/auth.py is copied, and fenced blocks:

- ``sh``: commands, which are run in the directory of the project;
- ``diff``: changes of the file that the line before the block names last, as in "In `compose.yaml`:". Lines with
  ``-`` or a space have to be in the file, once and in this order; ``@@`` separates two changes;
- ``console``: commands, after ``$``, and what they print; those that need containers are left out;
- ``text``: what the commands before it print: each of its lines, where ``...`` stands for any text;
- all other languages: a new file, which the line before the block names last.

A new file must not exist yet. After "At the end of `FILE`, add:", a block is added to a file.
The pages of a generated project have the same steps; these blocks may be indented in a list.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from projects import TEMPLATE, run

RECIPES = TEMPLATE / "docs/recipes"
# In this order, the imports in create_app() are sorted.
ADDITIONS = ["files", "errors", "cors", "limits", "languages", "mail"]
WITHOUT_REDIS = [page for page in ADDITIONS if page != "limits"]
COPY = r"\[`[^`]+`\]\((?P<source>\w[\w./-]*)\)\s+to\s+`(?P<target>[^`]+)`"
STEP = re.compile(
    COPY + r"|^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)


@dataclass
class Recipe:
    """The steps of a recipe that are still to be followed, in a project."""

    project: Path
    text: str
    environment: dict
    words: dict = field(default_factory=dict)
    printed: str = ""
    commands: bool = True

    def follow(self, heading=None):
        """Follow all steps up to the next heading, which has to be ``heading``; return the output."""
        if heading:
            found = re.match(r"\s*## (.+)\n", self.text)
            assert found, f"{heading!r} has to be next, not {self.text[:100]!r}"
            assert found[1] == heading
            self.text = self.text[found.end() :]
        section, *rest = re.split(r"^(?=## )", self.text, maxsplit=1, flags=re.M)
        self.text, self.printed = "".join(rest), ""
        for step in STEP.finditer(section):
            if step["source"]:
                self.copy(RECIPES / step["source"], step["target"])
            else:
                before = section[: step.start()].rstrip().rpartition("\n")[2]
                text = re.sub(f"^{step['indent']}", "", step["text"], flags=re.M)
                self.take(before, step["language"], text)
        return self.printed

    def copy(self, source, target):
        """Copy a file that stands next to the recipe, with the other words."""
        self.create(target, replace(source.read_text(), self.words))
        (self.project / target).chmod(source.stat().st_mode)

    def create(self, name, text):
        """Write a new file."""
        file = self.project / name
        assert not file.exists(), f"{file} exists"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def take(self, before, language, text):
        """Do what a block says."""
        if language == "sh" and not self.commands:
            return
        if language == "sh":
            self.printed += run("sh", "-euc", text, cwd=self.project, **self.environment).stdout
        elif language == "console":
            self.run_console(text)
        elif language == "text":
            self.compare(text)
        else:
            named = re.findall(r"`([\w./-]+)`", before)
            assert named, f"no file is named before\n{text}"
            if language == "diff":
                edit(self.project / named[-1], text)
            elif "t the end of" in before:
                append(self.project / named[-1], text)
            else:
                self.create(named[-1], text)

    def run_console(self, text):
        """Run the lines with ``$`` that need no containers; the others are what they print."""
        for line in text.splitlines():
            command = line.removeprefix("$ ")
            if command == line:
                self.compare(line)
            elif not needs_containers(command):
                done = run("sh", "-euc", command, cwd=self.project, **self.environment)
                self.printed += done.stdout

    def compare(self, text):
        """Check that the commands have printed each line."""
        for line in filter(None, map(str.strip, text.splitlines())):
            pattern = re.escape(line).replace(r"\.\.\.", ".*")
            assert re.search(pattern, self.printed), f"{line!r} is not in\n{self.printed}"


def needs_containers(command):
    """Return whether a command of a page starts or uses containers."""
    return command.startswith(("docker ", "make up", "make deploy", "kubectl "))


def append(file, text):
    """Add code to the end of a file; what is not indented follows two empty lines in Python."""
    between = "\n\n" if file.suffix == ".py" and not text.startswith(" ") else ""
    file.write_text(
        file.read_text() + (between or "\n" * (file.suffix in (".yaml", ".yml"))) + text
    )


def edit(file, diff):
    """Apply the changes of a diff block to a file."""
    for part in re.split(r"^@@.*\n", diff, flags=re.M):
        lines = [line or " " for line in part.splitlines()]
        assert {line[0] for line in lines} <= {" ", "-", "+"}, diff
        old, new = ("".join(f"{x[1:]}\n" for x in lines if x[0] in kept) for kept in ("- ", "+ "))
        text = f"\n{file.read_text()}"
        assert text.count(f"\n{old}") == 1, f"{file.name} has to contain once:\n{old}"
        file.write_text(text.replace(f"\n{old}", f"\n{new}")[1:])


def copied(text):
    """Return the sources of the files that a recipe copies."""
    return [found["source"] for found in re.finditer(COPY, text)]


def replace(text, words):
    """Replace each word."""
    for word, instead in words.items():
        text = text.replace(word, instead)
    return text


def follow(project, page, heading, **environment):
    """Follow one section of a page of a generated project, and return what its commands print."""
    pattern = rf"^##+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)"
    [section] = re.findall(pattern, (project / page).read_text(), re.M | re.S)
    assert STEP.search(section), f"{heading!r} has no steps"
    return Recipe(project, section, environment).follow()


@contextmanager
def recipe(name, project, words=(), **environment):
    """Read docs/recipes/NAME.md, with other words such as ``{"8080": "18800"}``; at the end, all was followed."""
    text, words = (RECIPES / f"{name}.md").read_text(), dict(words)
    texts = [text, *((RECIPES / source).read_text() for source in copied(text))]
    for word in words:
        assert any(word in each for each in texts), f"{name}.md and its files lack {word!r}"
    reading = Recipe(project, replace(text, words), environment, words)
    yield reading
    left = STEP.search(reading.text)
    assert not left, f"not followed: {left[0]}"


# Sections that only some projects need, and what these have; that of the last starts servers
ONLY_WITH = {
    "Errors of nginx": "nginx",
    "Limit a route": "notes.py",
    "With the worker": "tasks.py",
    "Try it": "servers",
}


def follow_recipe(project, name, words=(), commands=True):
    """Follow all sections of a recipe that concern a project, with or without its commands."""
    files = {path.name for path in [*project.iterdir(), *project.glob("*/*.py")]}
    with recipe(name, project, words) as reading:
        reading.commands = commands
        reading.follow()
        while reading.text:
            heading = re.match(r"## (.+)", reading.text)[1]
            if ONLY_WITH.get(heading, "compose.yaml") in files:
                reading.follow(heading)
            else:
                reading.text = "".join(re.split(r"^(?=## )", reading.text, flags=re.M)[2:])
