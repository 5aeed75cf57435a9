"""What the programs in this folder share: they run commands, end cleanly, and run one at a time.

It uses only the standard library, because it runs on a server on which nothing else is installed.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}


{% if cookiecutter.use_postgres %}
class StepError(Exception):
    """A step has failed; the message is the cause. ``printed`` is what its command printed."""

    def __init__(self, cause: str, printed: str = "") -> None:
        super().__init__(cause)
        self.printed = printed
{% else %}
class StepError(Exception):
    """A step has failed; the message is the cause."""
{% endif %}


class Interrupted(BaseException):
    """Somebody has pressed Ctrl-C, closed the terminal, or ended the program."""


def handle_signals() -> None:
    """Raise ``Interrupted`` on a signal, unless it is ignored, as SIGHUP is under nohup."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def interrupt(number: int, _: Any) -> None:
    """Raise ``Interrupted`` once: what cleans up afterwards is not interrupted."""
    ignore_signals()
    if number == signal.SIGHUP:  # the terminal is gone, so that nothing can be printed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    raise Interrupted(f"Interrupted by {signal.Signals(number).name}.")


def ignore_signals() -> None:
    """Ignore signals in this process only: commands that it starts would inherit SIG_IGN."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay signals until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Let one process at a time run the block; the commands that it runs hold the lock too."""
    with (ROOT / f".{name}.lock").open("a+") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            sys.exit(f"{file.read()} is running. Wait until it has ended.")
        file.truncate(0)
        program = Path(sys.argv[0]).name
        file.write(f"bin/{program} (process {os.getpid()}, since {datetime.now():%H:%M:%S})")
        file.flush()
        yield


def say(text: str, stream: int = 1) -> None:
    """Print a line at once; if the terminal is gone, go on without it."""
    with suppress(OSError):
        os.write(stream, f"{text}\n".encode(errors="surrogateescape"))


def start(*command: str, **options: Any) -> subprocess.Popen[Any]:
    """Start a command in a session of its own, which signals of the terminal do not reach."""
    options["env"] = {**os.environ, **options.get("env", {})}
    try:
        return subprocess.Popen(
            command, cwd=ROOT, close_fds=False, start_new_session=True, **options
        )
    except FileNotFoundError:
        raise StepError(f"{command[0]} is not installed, or it is not in PATH.") from None


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return the output and errors of a command; end it if this program is interrupted."""
    try:
        return process.communicate()
    except Interrupted:
        process.terminate()
        process.communicate()
        raise


def show(*command: str, **environment: str) -> None:
    """Run a command that prints its progress."""
    process = start(*command, env=environment)
    finish(process)
    if process.returncode:
        raise StepError(f"This command has failed: {' '.join(command)}")


def read(*command: str, **environment: str) -> str:
    """Run a command, and return what it prints; the last lines of an error are the cause."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start(*command, env=environment, text=True, **pipes)
    printed, errors = finish(process)
    if process.returncode:
        raise StepError("\n".join((printed + errors).splitlines()[-20:]))
    return printed
