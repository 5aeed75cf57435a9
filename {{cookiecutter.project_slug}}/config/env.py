"""Write ``.env`` from ``.env.example``, with fresh secrets, or add what it lacks: ``make env``.

It needs nothing but Python, so that it runs before anything is installed.
"""

import re
import secrets
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = re.compile(r"(?m)^(\w+)=")
KNOWN = re.compile(r"(?m)^[ \t#]*(?:export[ \t]+)?(\w+)[ \t]*=")  # also what was switched off


def write(root: Path = ROOT) -> list[str]:
    """Add the variables that the file lacks, each with its comment; their names."""
    text = (root / ".env.example").read_text(encoding="utf-8")
    file = root / ".env"
    file.touch(mode=0o600)  # for its owner only
    if there := file.read_text(encoding="utf-8", errors="replace"):
        text = lacking(text, set(KNOWN.findall(there)))
    text = re.sub(r"(?m)(?<==)change-me$", lambda _: secrets.token_urlsafe(32), text)
    with file.open("a", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    return NAME.findall(text)


def lacking(example: str, known: set[str]) -> str:
    """The paragraphs of ``example`` that set something else than what is ``known``."""
    lines = [line for line in example.split("\n") if line.partition("=")[0] not in known]
    paragraphs = [part for part in "\n".join(lines).split("\n\n") if NAME.search(part)]
    return "".join(f"\n{part.strip()}\n" for part in paragraphs)


if __name__ == "__main__":
    added = write()
    print(f"Written to .env: {', '.join(added)}." if added else "Nothing is missing in .env.")
