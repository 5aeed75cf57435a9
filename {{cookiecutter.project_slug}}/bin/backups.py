"""The files of backups."""

import gzip
import re
import zlib
from pathlib import Path

from commands import StepError

FOLDER = Path("backups")
END = b"-- PostgreSQL database dump complete"
MARGIN = 500  # bytes at the end of a backup, among which END is
MEBIBYTE = 1024 * 1024
# The names that bin/backup gives, such as 20261231T235959Z.sql.gz: other files stay as they are
NAME = r"\d{8}T\d{6}Z\.sql\.gz"


def backups() -> list[Path]:
    """Return the backups that bin/backup has written, the oldest first."""
    return sorted(f for f in FOLDER.glob("*") if re.fullmatch(NAME, f.name) and f.is_file())


def check(file: Path) -> None:
    """Fail unless a file is a whole backup."""
    if not file.is_file():
        problem = "is not a file" if file.exists() else "does not exist"
        raise StepError(f"{file} {problem}: name a backup, such as file=backups/NAME.sql.gz")
    try:
        last = last_bytes(file)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise StepError(f"{file} is damaged, or is not a backup of `make backup`.") from None
    if END not in last:
        raise StepError(f"{file} is incomplete, or is not a backup of `make backup`.")


def last_bytes(file: Path) -> bytes:
    """Return the end of a compressed file, all of which is read."""
    last = b""
    with gzip.open(file) as stream:
        while block := stream.read(MEBIBYTE):
            last = (last + block)[-MARGIN:]
    return last
