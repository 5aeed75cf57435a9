"""Deletes what tests have left in Docker and in the list of processes: ``make clean`` runs it.

A run holds a lock. Nothing is deleted while another run has it.
"""

import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from stacks import DIGITS, unique_name

MARK = "TESTS_OF"  # a variable with the process of the tests, which all programs inherit
NAMES = re.compile(f"{unique_name('')}|{DIGITS}[-_]")
KINDS = {  # in this order: a network or a volume that a container uses cannot be deleted
    "container": ("ps --all --format={{.Names}}", "rm --force --volumes"),
    "network": ("network ls --format={{.Name}}", "network rm"),
    "volume": ("volume ls --format={{.Name}}", "volume rm --force"),
    "image": ("images --format={{.Repository}}:{{.Tag}}", "rmi --force"),
}
lock = (Path(tempfile.gettempdir()) / f"{unique_name('tests')}.lock").open("w")


def docker(*arguments):
    """Return the lines that docker prints; none without Docker."""
    with suppress(FileNotFoundError):
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
        return done.stdout.splitlines()
    return []


def found(kind):
    """Return the names of the containers, networks, volumes or images of tests."""
    return [name for name in docker(*KINDS[kind][0].split()) if NAMES.match(name)]


def is_alone():
    """Take the lock, and return whether no other run has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_SH)
    return True


def delete(kinds=("container", "network", "volume")):
    """Delete what an earlier run has left, unless another run is in progress."""
    if is_alone():
        for kind in kinds:
            if names := found(kind):
                docker(*KINDS[kind][1].split(), *names)


def kill_programs():
    """Kill the programs that this run has started, and theirs: they have its mark."""
    mark = f"{MARK}={os.getpid()}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in file.read_bytes().split(b"\0"):
                os.kill(int(file.parts[2]), signal.SIGKILL)


def main():
    """Delete everything, with the images, and say so."""
    if not is_alone():
        sys.exit("Other tests are running: end them first.")
    before = {kind: len(found(kind)) for kind in KINDS}
    delete(KINDS)
    print("Deleted:", ", ".join(f"{number} {kind}s" for kind, number in before.items()))


if __name__ == "__main__":
    main()
