"""Send a million requests of all kinds to a stack with all servers, and look for what grows.

    make soak                       writes its figures to docs/performance.md and docs/soak.svg
    make soak requests=20000        sends fewer; only prints its figures

Meanwhile, it deploys, backs up, and updates all images. It needs Docker.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from cookiecutter.main import cookiecutter
from deploying import change_template, static_files
from projects import FULL, TEMPLATE, run
from soak_report import table
from soak_samples import Samples, draw
from soak_traffic import Traffic
from stacks import stack_with, unfinished_jobs
from updating import Registry, absences, events_of

WHOLE = 1_000_000
RATE = 450  # requests in a second
OPTIONS = FULL | {"use_worker": True, "use_metrics": True}
PAGE = TEMPLATE / "docs/performance.md"
RAW = TEMPLATE / "build/soak.json"
PICTURE = TEMPLATE / "docs/soak.svg"

# What docs/update.md says that fails while a service is replaced by an update, besides with nginx
FAILS_MEANWHILE = {
    "postgres": {"list", "new note", "changed note", "deleted note", "readiness"},
    "queue": {"job", "readiness"},
    "redis": {"readiness"},
}


class Cookies:
    """Generate projects into a folder, as pytest-cookies does for the tests."""

    def __init__(self, folder):
        self.folder = folder

    def bake(self, extra_context):
        options = {"no_input": True, "default_config": True, "output_dir": self.folder}
        project = cookiecutter(str(TEMPLATE), extra_context=extra_context, **options)
        return SimpleNamespace(exception=None, project_path=Path(project))


class Soak:
    """The stack, its traffic, and what happens to it meanwhile."""

    def __init__(self, stack, registry, traffic, samples):
        self.stack, self.registry = stack, registry
        self.traffic, self.samples = traffic, samples
        self.marks = []  # when something happened, and what
        self.absent = {}  # by service, from when to when it was away for the update

    def wait(self, share):
        """Wait until a share of all requests is sent; print a line each minute."""
        while self.traffic.sent < share * self.traffic.number and self.traffic.sending:
            time.sleep(1)
            if int(time.time()) % 60 == 0:
                failed = len(self.traffic.failed)
                say(f"{self.traffic.sent:,} requests, {failed} not as expected")

    def happen(self, share, what, *targets):
        """Run targets of the Makefile after a share of the requests."""
        self.wait(share)
        begun = time.time()
        self.marks.append((begun - self.samples.begun, what))
        for target in targets:
            run("make", target, cwd=self.stack.project)
            say(f"make {target}: {time.time() - begun:.0f} s")

    def run(self):
        """Let everything happen in the first fifth, so that all then run to the end."""
        change_template(self.stack, 1)
        self.happen(0.05, "deployment", "deploy")
        self.happen(0.10, "backup", "backup", "drill")
        self.registry.publish_all(2)
        with events_of(self.stack) as events:
            self.happen(0.15, "update", "update")
        self.absent = absences(events)
        self.wait(1)

    def unexpected(self):
        """Return the requests that failed outside of what the documents say."""
        return [failure for failure in self.traffic.failed if not self.is_documented(*failure)]

    def is_documented(self, kind, status, begun, ended):
        return any(
            (service == "nginx" or kind in FAILS_MEANWHILE.get(service, ()))
            and away <= ended
            and begun <= back + 1
            for service, (away, back) in self.absent.items()
        )

    def lost_jobs(self):
        """Wait until the queue is empty; return the jobs that were accepted and did not run."""
        for _ in range(180):  # seconds, twice visibility_timeout
            self.left = unfinished_jobs(self.stack)
            if self.left == 0:
                break
            time.sleep(1)
        bits = self.bits()
        return {number for number in self.traffic.jobs if not is_set(bits, number)}

    def bits(self):
        """Return the bitmap of the jobs that ran."""
        command = ["docker", "compose", "exec", "-T", "queue", "redis-cli", "get", "done"]
        return subprocess.run(command, cwd=self.stack.project, capture_output=True).stdout


def is_set(bits, number):
    return number // 8 < len(bits) and bits[number // 8] & (128 >> number % 8)


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def soak(folder, registry, requests, rate):
    """Start the stack, send the requests, and return what was found."""
    arguments = (Cookies(folder), OPTIONS, "soak", 18700, "soak")
    with stack_with(*arguments, prepare=registry.take_over) as stack:
        say("The stack is up")
        # The list of the jobs that ran has its full size from the start
        stack.inside("queue", "redis-cli", "setbit", "done", str(requests), "0")
        static = static_files(stack.get("/", Accept="text/html").text)
        with (
            Samples(stack, interval=30 if requests >= WHOLE else 5) as samples,
            Traffic(stack.port, static, requests, rate) as traffic,
        ):
            found = Soak(stack, registry, traffic, samples)
            found.run()
        found.lost = found.lost_jobs()
        return found


def save(found):
    """Save what was measured, for a closer look."""
    RAW.parent.mkdir(exist_ok=True)
    values = {"failed": found.traffic.failed, "slow": found.traffic.slow, "marks": found.marks}
    RAW.write_text(json.dumps(values | {"absent": found.absent, "samples": found.samples.values}))


def write(text, found):
    """Replace the figures in docs/performance.md, and the picture."""
    before, _, rest = PAGE.read_text().partition("<!-- soak -->")
    after = rest.partition("<!-- /soak -->")[2]
    PAGE.write_text(f"{before}<!-- soak -->\n\n{text}\n\n<!-- /soak -->{after}")
    draw(found.samples, found.marks, PICTURE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=WHOLE)
    parser.add_argument("--rate", type=int, default=RATE, help="requests in a second")
    arguments = parser.parse_args()
    registry = Registry()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = soak(folder, registry, arguments.requests, arguments.rate)
    finally:
        registry.delete()
    save(found)
    text, missed = table(found)
    print(text)
    print(json.dumps(Counter(f"{kind}, {status}" for kind, status, *_ in found.traffic.failed)))
    for kind, status, begun, ended in found.unexpected()[:20]:
        print(f"{kind}: {status} at {begun - found.traffic.begun:.1f} s, for {ended - begun:.1f} s")
    if arguments.requests >= WHOLE:
        write(text, found)
    sys.exit(f"not as it should be: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
