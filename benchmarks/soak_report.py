"""The table of ``make soak``: what was found, and what it should be."""

import statistics

from soak_samples import DISKS, SERVICES

LOGS = 30  # MB for each container: three files of 10 MB
OUTCOMES = {True: "reached", False: "**missed**", None: ""}  # none: only measured
SETTLED = ("processes", "threads", "open files")


def table(found):
    """Return the table as Markdown, and the names of all rows that are not as they should be."""
    rows = [*answers(found), *memory(found.samples), *constants(found), *disks(found.samples)]
    lines = ["| | found | should be | |", "|---|--:|--:|---|"]
    for name, value, goal, reached in rows:
        lines.append(f"| {name} | {value} | {goal} | {OUTCOMES[reached]} |")
    return "\n".join(lines), [name for name, _, _, reached in rows if reached is False]


def answers(found):
    """Rows about requests and jobs."""
    traffic, unexpected = found.traffic, found.unexpected()
    minutes = (traffic.ended_at - traffic.begun) / 60
    meanwhile = len(traffic.failed) - len(unexpected)
    slow, served = sum(traffic.slow.values()), traffic.slow["200"]
    keys, texts = found.samples.values["keys in the cache"][-1][1], traffic.texts
    slowest = 1000 * percentile(traffic.seconds["page"])
    cached = f"{keys:,.0f} of {texts:,} texts"
    return [
        (f"requests, in {minutes:.0f} minutes", f"{traffic.sent:,}", f"{traffic.number:,}", True),
        ("failed requests, but for the update", len(unexpected), 0, not unexpected),
        ("failed requests while the update replaced their servers", f"{meanwhile:,}", "", None),
        (
            "slow clients served, one byte in 0.5 s",
            f"{served} of {slow}",
            "most",
            served > slow / 2,
        ),
        ("accepted jobs that did not run", len(found.lost), 0, not found.lost),
        ("jobs in the queue at the end", found.left, 0, found.left == 0),
        ("accepted jobs", f"{len(traffic.jobs):,}", "", None),
        ("keys in the cache at the end", cached, "fewer", keys < texts),
        ("99th percentile of pages", f"{slowest:.0f} ms", "", None),
    ]


def percentile(values):
    return statistics.quantiles(values, n=100)[98]


def memory(samples):
    """Rows about the memory of each container in the second and the last quarter."""
    for service in SERVICES:
        name = f"memory of {service}"
        second, last = samples.quarter(name, 2), samples.quarter(name, 4)
        found = f"{second:.1f} → {last:.1f} MB, {last / second:.3f}×"
        yield (
            f"private memory of {service}, second and last quarter",
            found,
            "≤ 1.03×",
            (last <= 1.03 * second),
        )


def constants(found):
    """Rows about what should be the same in the second and the last quarter."""
    samples = found.samples
    for service in SERVICES:
        pairs = [
            (samples.quarter(f"{what} of {service}", 2), samples.quarter(f"{what} of {service}", 4))
            for what in SETTLED
        ]
        shown = "; ".join(f"{a:.0f} → {b:.0f}" for a, b in pairs)
        constant = all(b <= a * 1.05 + 3 for a, b in pairs)
        yield f"processes; threads; open files of {service}", shown, "constant", constant
    name = "connections to PostgreSQL"
    second, last = samples.quarter(name, 2), samples.quarter(name, 4)
    yield name, f"{second:.0f} → {last:.0f}", "constant", last <= second * 1.05 + 1


def disks(samples):
    """Rows about disks, logs, the queue, and the cache."""
    for service, path in DISKS.items():
        name = f"disk of {service}"
        earlier = max(samples.largest(name, number) for number in (1, 2, 3))
        last = samples.largest(name, 4)
        found = f"{earlier:.1f} → {last:.1f} MB"
        yield (
            f"largest `{path}` of {service}, before and in the last quarter",
            found,
            "≤ 1.1×",
            (last <= 1.1 * earlier + 1),
        )
    largest = samples.largest("size of the largest log", 4)
    yield "log files of a container", f"{largest:.1f} MB", f"≤ {LOGS} MB", largest <= LOGS
