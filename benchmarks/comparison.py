"""Servers in containers, and one figure of ours beside that of another."""

import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
TEMPLATE = HERE.parent


def run(*command: object, cwd: Path = HERE, check: bool = True) -> str:
    """What ``command`` prints; when it fails, the end of this program."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if check and done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout.strip()


@dataclass
class Target:
    """A server in a container, asked from inside of its own network."""

    container: str
    port: int = 8000

    def wrk(
        self, path: str, connections: int, seconds: float, *options: str
    ) -> tuple[float, float]:
        """Requests per second, and the 99th percentile in milliseconds; all were good."""
        out = run(
            "docker", "run", "--rm", f"--network=container:{self.container}", "bench-load",
            "wrk", "--latency", "--threads=1", f"--connections={connections}",
            f"--duration={seconds}s", *options, f"http://127.0.0.1:{self.port}{path}",
        )  # fmt: skip
        if "Non-2xx" in out or "Socket errors" in out:
            sys.exit(f"{path} of {self.container}: {out}")
        words = out.split()
        percentile = words[words.index("99%") + 1]
        for unit, factor in (("us", 1e-3), ("ms", 1), ("s", 1e3)):
            if percentile.endswith(unit):
                return float(words[words.index("Requests/sec:") + 1]), float(
                    percentile.removesuffix(unit)
                ) * factor
        raise AssertionError(percentile)

    def rate(self, path: str, seconds: float, *options: str) -> Callable[[], float]:
        return lambda: self.wrk(path, 8, seconds, *options)[0]

    def p99(self, path: str, seconds: float) -> Callable[[], float]:
        return lambda: self.wrk(path, 64, seconds)[1]

    def memory(self) -> float:
        """Megabytes of all processes of gunicorn, shared pages divided (PSS)."""
        script = (
            "for p in /proc/[0-9]*; do grep -q gunicorn $p/cmdline 2>/dev/null"
            " && grep ^Pss: $p/smaps_rollup; done"
        )
        lines = run("docker", "exec", self.container, "sh", "-c", script, check=False).splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3


@dataclass
class Comparison:
    """One figure of ours and of another, measured in turns."""

    name: str
    ours: Callable[[], float]
    other: Callable[[], float]
    goal: float  # of the ratio
    against: str
    unit: str = "/s"
    at_most: bool = False
    once: bool = False  # takes so long that one round has to do
    found: list[tuple[float, float]] = field(default_factory=list)

    def measure(self, rounds: int) -> None:
        for _ in range(1 if self.once else rounds):
            self.found.append((self.ours(), self.other()))
        print(f"  {self.name}, {self.against}: {self.ratio:.2f}×", flush=True)

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(a for a, _ in self.found), statistics.median(
            b for _, b in self.found
        )

    @property
    def ratio(self) -> float:
        """The median of the ratios of the rounds."""
        return statistics.median(a / b for a, b in self.found)

    @property
    def reached(self) -> bool:
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal
