"""What ``make soak`` measures of each container, again and again, and the picture of it."""

import re
import statistics
import threading
import time
from pathlib import Path

from projects import run

MEBIBYTE = 1024 * 1024
COUNT = """
cat /proc/[0-9]*/status 2>/dev/null | grep -c ^Pid
cat /proc/[0-9]*/status 2>/dev/null | sed -n 's/^Threads:.//p' | paste -sd+ - | sed 's/$/+0/'
ls /proc/[0-9]*/fd 2>/dev/null | grep -c '^[0-9]'
"""
DISKS = {
    "postgres": "/var/lib/postgresql",
    "queue": "/data",
    "nginx": "/var/cache/nginx",
    "web": "/dev/shm",
    "worker": "/dev/shm",
}
COLORS = {
    "web": "#0b6bcb",
    "worker": "#c4320a",
    "beat": "#7f56d9",
    "postgres": "#067647",
    "redis": "#854a0e",
    "queue": "#475467",
    "nginx": "#dd2590",
}
SERVICES = tuple(COLORS)


class Samples:
    """A thread that measures all containers in an interval."""

    def __init__(self, stack, interval):
        self.stack, self.interval = stack, interval
        self.begun, self.ended = time.time(), threading.Event()
        self.values = {}  # by name such as "memory of web", the times and values
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def run(self):
        while not self.ended.wait(self.interval):
            for service in SERVICES:
                self.measure(service)
            self.add("size of the largest log", self.size_of_logs())
            self.add("jobs in the queue", self.redis("queue", "llen", "celery"))
            self.add("keys in the cache", self.redis("redis", "dbsize"))
            self.add("connections to PostgreSQL", self.connections())

    def add(self, name, value):
        if value is not None:  # it is while a container is replaced
            self.values.setdefault(name, []).append((time.time() - self.begun, value))

    def measure(self, service):
        """Measure the memory and the processes of a service, and its disk."""
        self.add(f"memory of {service}", self.stack.memory(service) / MEBIBYTE or None)
        lines = self.stack.inside(service, "sh", "-c", COUNT, check=False).split()
        if len(lines) == 3:
            processes, threads, files = lines
            self.add(f"processes of {service}", int(processes))
            self.add(f"threads of {service}", sum(map(int, threads.split("+"))))
            self.add(f"open files of {service}", int(files))
        if service in DISKS:
            used = self.stack.inside(service, "du", "-sk", DISKS[service], check=False)
            size = re.match(r"\d+\t", used)  # not the message of Compose that it is replaced
            self.add(f"disk of {service}", int(size[0]) / 1024 if size else None)

    def redis(self, service, *command):
        printed = self.stack.inside(service, "redis-cli", *command, check=False).strip()
        return int(printed) if printed.isdigit() else None

    def connections(self):
        query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        command = ["psql", "--username=postgres", "--tuples-only", "-c", query]
        printed = self.stack.inside("postgres", *command, check=False).strip()
        return int(printed) if printed.isdigit() else None

    def size_of_logs(self):
        """Return the mebibytes of all log files of the container that has most."""
        ids = self.stack.compose("ps", "--quiet", check=False).stdout.split()
        command = ["docker", "inspect", "--format={{.LogPath}}", *ids]
        printed = run(*command, cwd=self.stack.project, check=False).stdout.splitlines()
        files = [Path(line) for line in printed if line.startswith("/")]  # others are messages
        return max((size_of_logs(file.parent) for file in files), default=0) / MEBIBYTE

    def quarter(self, name, number):
        """Return the median of a value in a quarter of the time: 1 to 4."""
        return statistics.median(self.inside(name, number))

    def largest(self, name, number):
        """Return the largest value in a quarter of the time: 1 to 4."""
        return max(self.inside(name, number))

    def inside(self, name, number):
        length = self.values[name][-1][0] / 4
        return [v for at, v in self.values[name] if number - 1 <= at / length <= number]


def size_of_logs(folder):
    """Return the bytes of all files of the log driver for a container."""
    return sum(file.stat().st_size for file in folder.glob("*-json.log*") if file.exists())


def draw(samples, marks, file):
    """Draw the memory of all services as an SVG, with a line for each mark: time and text."""
    lines = {s: samples.values[f"memory of {s}"] for s in SERVICES}
    end = max(points[-1][0] for points in lines.values())
    top = max(value for points in lines.values() for _, value in points) * 1.1
    x, y = (lambda at: 60 + at / end * 640), (lambda value: 320 - value / top * 280)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 360" font-family="sans-serif"'
        ' font-size="12"><rect width="820" height="360" fill="white"/>'
    ]
    for tick in range(0, int(top), 50):
        parts.append(f'<path d="M60 {y(tick):.0f}H700" stroke="#ddd"/>')
        parts.append(f'<text x="52" y="{y(tick) + 4:.0f}" text-anchor="end">{tick} MB</text>')
    for number, (at, text) in enumerate(marks):
        height = 34 - number % 2 * 16  # so that the texts do not overlap
        parts.append(f'<path d="M{x(at):.0f} 40V320" stroke="#999" stroke-dasharray="3"/>')
        parts.append(f'<text x="{x(at):.0f}" y="{height}" text-anchor="middle">{text}</text>')
    former = 1000
    for service, color in sorted(COLORS.items(), key=lambda item: lines[item[0]][-1][1]):
        former = min(y(lines[service][-1][1]) + 4, former - 14)
        parts += curve(lines[service], color, x, y)
        parts.append(f'<text x="706" y="{former:.0f}" fill="{color}">{service}</text>')
    parts.append(f'<text x="380" y="345" text-anchor="middle">{end / 60:.0f} minutes</text></svg>')
    file.write_text("\n".join(parts) + "\n")


def curve(points, color, x, y):
    """Return the curve of a service."""
    path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    return [f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>']
