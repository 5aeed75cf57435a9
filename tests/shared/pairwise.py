"""The answers with which tests generate: each pair of answers to two questions at least once.

``python tests/shared/pairwise.py`` prints the table.
"""

import itertools
import json
from pathlib import Path

TEMPLATE = Path(__file__).parents[2]
TEXT_ONLY = {"license"}
UNRELATED = {("python_version", "frontend")}  # of which no file depends on both
REFUSED = {"use_accounts": True, "use_postgres": False}  # by hooks/pre_gen_project.py


def questions():
    """Return the answers to each question that changes code: full project first, smallest last."""
    asked = json.loads((TEMPLATE / "cookiecutter.json").read_text())
    return {
        name: sorted(default, key="none".__eq__) if isinstance(default, list) else [True, False]
        for name, default in asked.items()
        if isinstance(default, list | bool) and not name.startswith("_") and name not in TEXT_ONLY
    }


def pairs(row):
    """Return all pairs of answers in a row."""
    return set(itertools.combinations(row.items(), 2))


def is_refused(row):
    """Return whether the answers of a row are refused together."""
    return row.items() >= REFUSED.items()


def all_pairs(answers):
    """Return each pair of answers to any two questions that is not refused."""
    return {
        ((one, a), (other, b))
        for one, other in itertools.combinations(answers, 2)
        if (one, other) not in UNRELATED
        for a, b in itertools.product(answers[one], answers[other])
        if not is_refused({one: a, other: b})
    }


def table(answers):
    """Return rows with all pairs: the full project, the smallest, and what they lack."""
    rows = [{name: given[end] for name, given in answers.items()} for end in (0, -1)]
    missing = all_pairs(answers) - pairs(rows[0]) - pairs(rows[1])
    while missing:
        filled = [fill(dict(pair), answers, missing) for pair in sorted(missing, key=repr)]
        rows.append(max(filled, key=lambda row: len(pairs(row) & missing)))
        missing -= pairs(rows[-1])
    return rows


def fill(row, answers, missing):
    """Add an answer to each other question, with as many missing pairs as possible."""
    for name, given in answers.items():
        if name not in row:
            possible = [one for one in given if not is_refused({**row, name: one})]
            row[name] = max(possible, key=lambda one, name=name: gain({**row, name: one}, missing))
    return {name: row[name] for name in answers}


def gain(row, missing):
    """Return how many missing pairs a row contains, whatever the order of its answers."""
    return sum(bool({(a, b), (b, a)} & missing) for a, b in itertools.combinations(row.items(), 2))


if __name__ == "__main__":
    for row in table(questions()):
        print("  ".join(f"{name}={answer}" for name, answer in row.items()))
