"""Compare a generated service with bare Flask and with a typical Flask service.

python benchmarks/run.py           all rounds; prints the table and writes it to docs/performance.md
python benchmarks/run.py --quick   fewer and shorter rounds; only prints the table
"""

import argparse
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from servers import HERE, Server, Servers, add_notes, image_size, run, started

BASE = "python:3.14-slim-trixie"
PAGE = HERE.parent / "docs/performance.md"


@dataclass
class Comparison:
    """A value of the service, compared with that of another; if ``other`` is None, not compared."""

    name: str
    goal: float
    ours: Callable[[], float]
    against: str = ""
    other: Callable[[], float] | None = None
    unit: str = "/s"
    at_most: bool = False
    tails: list[Callable[[], float]] = field(default_factory=list)
    rounds: list[tuple[float, float]] = field(default_factory=list)
    slowest: list[list[float]] = field(default_factory=list)

    def measure(self, rounds: int) -> None:
        """Measure both in turns."""
        for _ in range(rounds):
            self.rounds.append((self.ours(), self.other() if self.other else 1))
            self.slowest.append([tail() for tail in self.tails])

    def row(self) -> str:
        """A row of the table; the result is the median of the ratios of all rounds."""
        medians = map(statistics.median, zip(*self.rounds, strict=True))
        ours, other = (f"{median:,.0f} {self.unit}" for median in medians)
        result = statistics.median(ours / other for ours, other in self.rounds)
        reached = result <= self.goal if self.at_most else result >= self.goal
        unit = "×" if self.other else f" {self.unit}"
        cells = [self.name, ours, self.against, other if self.other else "", f"{result:.2f}{unit}"]
        cells += [f"{'≤' if self.at_most else '≥'} {self.goal}{unit}"]
        tails = [statistics.median(values) for values in zip(*self.slowest, strict=True)]
        cells += [" / ".join(f"{tail:,.0f}" for tail in tails)]
        return f"| {' | '.join(cells)} | {'reached' if reached else '**missed**'} |"


def comparisons(servers: Servers, seconds: int) -> list[Comparison]:
    """Return all comparisons, with their goals."""
    service, nginx, uncached = servers.service, servers.nginx, servers.uncached
    bare, typical = servers.bare, servers.typical
    flask, guides, css = "bare Flask", "typical service", "/static/style.css"

    def rates(
        name: str, goal: float, ours: tuple[Server, str], against: str, other: tuple[Server, str]
    ) -> Comparison:
        """Compare requests per second, and the 99th percentile over more connections."""
        (server, path), (second, its_path) = ours, other
        return Comparison(
            name,
            goal,
            lambda: server.rate(path, seconds),
            against,
            lambda: second.rate(its_path, seconds),
            tails=[
                lambda: server.slowest(path, seconds),
                lambda: second.slowest(its_path, seconds),
            ],
        )

    def large(server: Server) -> Callable[[], float]:
        return lambda: add_notes(100_000) or server.rate("/notes", seconds)

    def added() -> float:
        return image_size("bench-service-web") - image_size(BASE)

    def both(path: str) -> tuple[tuple[Server, str], str, tuple[Server, str]]:
        return (service, path), guides, (typical, path)

    return [
        rates("page", 0.8, (service, "/"), flask, (bare, "/")),
        rates("liveness", 0.65, (service, "/livez"), flask, (bare, "/livez")),
        rates("page through nginx", 0.85, (nginx, "/"), "without", (service, "/")),
        rates("static file", 10, (nginx, service.stylesheet()), guides, (typical, css)),
        rates("readiness", 1.2, *both("/readyz")),
        rates("list, 40 notes", 1.1, (uncached, "/notes"), guides, (typical, "/notes")),
        rates("cached list", 1.5, (service, "/notes"), "list", (uncached, "/notes")),
        Comparison("list, 100,000 notes", 1.2, large(uncached), guides, large(typical)),
        Comparison("memory", 0.5, service.memory, guides, typical.memory, "MB", at_most=True),
        Comparison("image", 70, added, unit="MB", at_most=True),
        Comparison("`create_app()`", 50, service.create_app, unit="ms", at_most=True),
    ]


def write(table: str) -> None:
    """Replace the table in ``docs/performance.md``."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    machine = f"{os.cpu_count()} CPUs ({cpu[1] if cpu else platform.machine()})"
    before, _, rest = PAGE.read_text().partition("<!-- figures -->")
    after = rest.partition("<!-- /figures -->")[2]
    text = f"Measured on {machine}.\n\n{table}"
    PAGE.write_text(f"{before}<!-- figures -->\n\n{text}\n\n<!-- /figures -->{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; only print the table")
    quick = parser.parse_args().quick
    rounds, seconds = (3, 1) if quick else (9, 3)

    begun = time.monotonic()
    run("docker", "run", "--rm", BASE, "true")  # a build alone does not store the image
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as servers:
        print(f"Started; {rounds} rounds of {seconds} s each", flush=True)
        rows = [
            "| | service | against | other | result | goal | p99, ms: service / other | |",
            "|---|--:|---|--:|--:|--:|--:|---|",
        ]
        print("\n".join(rows))
        for comparison in comparisons(servers, seconds):
            comparison.measure(rounds)
            rows.append(comparison.row())
            print(rows[-1], flush=True)
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes")
    if not quick:
        write("\n".join(rows))


if __name__ == "__main__":
    main()
