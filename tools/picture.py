"""Draw docs/terminal.svg and docs/page.png: generate a service, start it in Docker, and show its page.

``make picture`` runs this program. It needs Docker, Chromium, and port 8080.
"""

import io
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).parents[1] / "docs"
QUESTIONS = [
    name for name in json.loads((DOCS.parent / "cookiecutter.json").read_text()) if name[0] != "_"
]
ANSWERS = [b"Corner Shop\n", b"\n", b"Sells milk.\n", *[b"\n"] * (len(QUESTIONS) - 3)]
PAGE = "http://127.0.0.1:8080"


def type_answers(folder: Path) -> str:
    """Run cookiecutter in a terminal, and return its output."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ |= {"COLUMNS": "100", "TERM": "xterm-256color"}
        os.execvp("cookiecutter", ["cookiecutter", "--default-config", str(DOCS.parent)])
    shown = os.read(terminal, 1024)  # however long it takes to start
    for answer in ANSWERS:
        while select.select([terminal], [], [], 2)[0]:  # until it waits for the answer
            shown += os.read(terminal, 1024)
        os.write(terminal, answer)
    try:
        while part := os.read(terminal, 1024):
            shown += part
    except OSError:  # the program has ended
        os.waitpid(process, 0)
    return shown.decode().replace("\r", "")


def run(*command: str, folder: Path) -> str:
    """Run a command, and return its output."""
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def draw(parts: list[str]) -> None:
    """Write the session as an SVG that does not need other files."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    for part in parts:
        console.print(Text.from_ansi(part))
    svg = console.export_svg(title="A new service", theme=MONOKAI)
    (DOCS / "terminal.svg").write_text(re.sub(r"(?s)@font-face \{.*?\}\s*", "", svg))


def screenshot(browser: str) -> None:
    """Take a screenshot of the home page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--disable-background-networking", "--window-size=900,640"]
    run(browser, *options, f"--screenshot={DOCS / 'page.png'}", PAGE, folder=DOCS)


def main() -> None:
    """Draw both pictures, and remove the service."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        sys.exit("Chromium is missing: install it, for example with apt-get install chromium.")
    with tempfile.TemporaryDirectory() as folder:
        session = ["$ cookiecutter gh:ORG/cookiecutter-flask-docker", type_answers(Path(folder))]
        project = Path(folder) / "corner_shop"
        try:
            up = run("make", "--no-print-directory", "up", folder=project).splitlines()[-1]
            ready = run("curl", "--silent", f"{PAGE}/readyz", folder=project)
            session += [f"$ cd corner_shop\n$ make up\n{up}\n", f"$ curl {PAGE}/readyz\n{ready}"]
            draw(session)
            # Production, because development adds a toolbar to the page.
            compose = ("docker", "compose", "-f", "compose.yaml")
            run(*compose, "up", "--detach", "--build", "--wait", folder=project)
            screenshot(browser)
        finally:
            run("docker", "compose", "down", "--volumes", folder=project)


if __name__ == "__main__":
    main()
