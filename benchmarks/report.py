"""The figures of a run as a table, and as a page with a plot."""

import os
import platform
import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def table(figures) -> str:
    """Markdown, one row a comparison."""
    rows = ["| | against | ours | theirs | ratio | goal | |", "|---|---|--:|--:|--:|--:|---|"]
    for figure in figures:
        ours, other = (f"{value:,.4g} {figure.unit}" for value in figure.medians)
        goal = f"{'≤' if figure.at_most else '≥'} {figure.goal}×"
        mark = "reached" if figure.reached else "**missed**"
        name = f"| {figure.name} | {figure.against} | {ours} | {other}"
        rows.append(f"{name} | {figure.ratio:.2f}× | {goal} | {mark} |")
    return "\n".join(rows)


def machine() -> str:
    """What this was measured on."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    return f"{os.cpu_count()} CPUs ({names[0] if names else platform.machine()})"


def plot(figures, file: Path) -> None:
    """Each ratio as a bar: to the right of the line is better than the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figures = figures[::-1]
    better = [1 / figure.ratio if figure.at_most else figure.ratio for figure in figures]
    names = [f"{figure.name}\nagainst {figure.against}" for figure in figures]
    colours = ["#2a7" if figure.reached else "#c63" for figure in figures]
    canvas, axes = pyplot.subplots(figsize=(9, 0.55 * len(figures) + 1), layout="constrained")
    bars = axes.barh(names, [value - 1 for value in better], left=1, color=colours)
    axes.bar_label(bars, [f"{value:.2g}×" for value in better], padding=4)
    axes.margins(x=0.1)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("times better than the other (logarithmic)")
    axes.tick_params(axis="y", labelsize=8)
    canvas.savefig(file, dpi=110)


def write(figures) -> None:
    """Replace the figures in ``docs/performance.md``, and the plot beside it."""
    page = DOCS / "performance.md"
    before, _, rest = page.read_text().partition("<!-- figures -->")
    after = rest.partition("<!-- /figures -->")[2]
    text = f"Measured on {machine()}.\n\n{table(figures)}\n\n![The ratios](performance.png)"
    page.write_text(f"{before}<!-- figures -->\n\n{text}\n\n<!-- /figures -->{after}")
    plot(figures, DOCS / "performance.png")
