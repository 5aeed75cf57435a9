"""How bin/backup, bin/drill and bin/restore run Docker Compose, and how they end."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import Any

from commands import ROOT, Interrupted, StepError, handle_signals, say, start


def run(program: Callable[[], None]) -> None:
    """Run a program; if it fails or is interrupted, print why, and what that means."""
    handle_signals()
    os.chdir(ROOT)
    os.umask(0o077)  # only the owner can read the data
    try:
        program()
    except (OSError, StepError, Interrupted) as error:
        for sentence in (str(error), *getattr(error, "__notes__", ())):
            say(sentence, stream=2)
        sys.exit(1)


def option(name: str) -> str:
    """Return an environment variable, such as ``file``; make sets it from ``file=...``."""
    return os.environ.get(name, "")


@contextmanager
def running(*command: str, **pipes: Any) -> Iterator[Any]:
    """Run ``docker compose`` during the block, and fail if it fails."""
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | pipes
    with TemporaryFile() as errors:
        with (
            suppress(BrokenPipeError),  # when the block has ended, Popen closes stdin
            start("docker", "compose", *command, stderr=errors, **options) as process,
        ):
            try:
                yield process
            except BrokenPipeError:
                pass  # the command has ended: check_status() below says why
            except BaseException:
                end(process)
                raise
        errors.seek(0)
        check_status(process.returncode, errors.read().decode(errors="replace"))


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command that is no longer needed; some wait for the end of their input."""
    with suppress(OSError):
        if process.stdin:
            process.stdin.close()
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()


def check_status(status: int, printed: str) -> None:
    """Fail with the first line that a command printed, if it failed."""
    if status:
        lines = [line for line in printed.splitlines() if line and "level=warning" not in line]
        raise StepError(lines[0] if lines else f"docker compose exited with {status}", printed)


def run_compose(*command: str, text: str = "") -> str:
    """Return what ``docker compose`` prints, with this text on its standard input."""
    with running(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        printed, _ = process.communicate(text.encode())
    return printed.decode(errors="replace")


def is_ready() -> bool:
    """Return whether the service runs, and reaches what it needs."""
    with suppress(StepError):
        run_compose("exec", "-T", "web", "python", "bin/healthcheck", "/readyz")
        return True
    return False
