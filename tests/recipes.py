"""Follows the recipes in docs/recipes/ in a generated project, block by block.

A recipe is written for a project with the package ``shop``. Its fenced blocks are

- ``sh``: commands, which are run in the directory of the project;
- ``diff``: changes of the file that the line before the block names last, as in "In `compose.yaml`:". Lines with
  ``-`` or a space have to be in the file, once and in this order; ``@@`` separates two changes;
- ``text``: what the commands before it print: each of its lines, where ``...`` stands for any text;
- all other languages: a new file, which the line before the block names last.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import TEMPLATE, run

RECIPES = TEMPLATE / "docs/recipes"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n+```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass
class Recipe:
    """The blocks of a recipe that are still to be followed, in a project."""

    project: Path
    text: str
    environment: dict
    printed: str = ""

    def follow(self, heading=None):
        """Follow all blocks up to the next heading, which has to be ``heading``; return the output."""
        if heading:
            found = re.match(r"\s*## (.+)\n", self.text)
            assert found, f"{heading!r} has to be next, not {self.text[:100]!r}"
            assert found[1] == heading
            self.text = self.text[found.end() :]
        section, *rest = re.split(r"^(?=## )", self.text, maxsplit=1, flags=re.M)
        self.text, self.printed = "".join(rest), ""
        for block in BLOCK.finditer(section):
            self.take(**block.groupdict())
        return self.printed

    def take(self, before, language, text):
        """Do what a block says."""
        if language == "sh":
            self.printed += run("sh", "-euc", text, cwd=self.project, **self.environment).stdout
        elif language == "text":
            for line in filter(None, map(str.strip, text.splitlines())):
                pattern = re.escape(line).replace(r"\.\.\.", ".*")
                assert re.search(pattern, self.printed), f"{line!r} is not in\n{self.printed}"
        else:
            named = re.findall(r"`([\w./-]+)`", before)
            assert named, f"no file is named before\n{text}"
            file = self.project / named[-1]
            if language == "diff":
                edit(file, text)
            else:
                assert not file.exists(), f"{file} exists"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)


def edit(file, diff):
    """Apply the changes of a diff block to a file."""
    for part in re.split(r"^@@.*\n", diff, flags=re.M):
        lines = [line or " " for line in part.splitlines()]
        assert {line[0] for line in lines} <= {" ", "-", "+"}, diff
        old, new = ("".join(f"{x[1:]}\n" for x in lines if x[0] in kept) for kept in ("- ", "+ "))
        text = f"\n{file.read_text()}"
        assert text.count(f"\n{old}") == 1, f"{file.name} has to contain once:\n{old}"
        file.write_text(text.replace(f"\n{old}", f"\n{new}")[1:])


@contextmanager
def recipe(name, project, words=(), **environment):
    """Read docs/recipes/NAME.md, with other words such as ``{"8080": "18800"}``; at the end, all was followed."""
    text = (RECIPES / f"{name}.md").read_text()
    for word, instead in dict(words).items():
        assert word in text, f"{name}.md lacks {word!r}"
        text = text.replace(word, instead)
    reading = Recipe(project, text, environment)
    yield reading
    left = BLOCK.search(reading.text)
    assert not left, f"not followed: {left[0]}"
