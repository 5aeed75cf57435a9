"""Write ``.env`` from ``.env.example``, with fresh secrets: ``make env``.

It needs nothing but Python, so that it runs before anything is installed.
"""

import os
import re
import secrets
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write(root: Path = ROOT) -> bool:
    """Write the file for its owner only, and leave alone one that is there; whether it is new."""
    example = (root / ".env.example").read_text(encoding="utf-8")
    text = re.sub(r"(?m)(?<==)change-me$", lambda _: secrets.token_urlsafe(32), example)
    try:
        file = os.open(root / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with open(file, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    return True


if __name__ == "__main__":
    print(".env is written." if write() else ".env is there already, and stays as it is.")
