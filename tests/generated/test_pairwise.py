"""The table of answers with which tests generate projects."""

import pairwise
import pytest
from projects import texts


def test_each_pair_of_answers_is_in_a_row():
    answers = pairwise.questions()
    rows = pairwise.table(answers)

    for one, given in answers.items():
        for other in answers:
            together = {(row[one], row[other]) for row in rows}
            if one != other and not {(one, other), (other, one)} & pairwise.UNRELATED:
                pairs = {(a, b) for a in given for b in answers[other]}
                refused = {(a, b) for a, b in pairs if pairwise.is_refused({one: a, other: b})}
                assert together == pairs - refused


@pytest.mark.weekly
def test_python_version_changes_the_same_lines_with_each_front_end(no_lock, bake):
    """These pairs are generated here, and need no rows of their own."""
    answers = pairwise.questions()
    newest, *versions = answers["python_version"]
    changed = {version: set() for version in versions}

    for front_end in answers["frontend"]:
        before = lines(bake(frontend=front_end, python_version=newest))
        for version in versions:
            after = lines(bake(frontend=front_end, python_version=version))
            changed[version].add((frozenset(before - after), frozenset(after - before)))

    assert versions == ["3.13", "3.12"]
    for version, differences in changed.items():
        [(old, new)] = differences
        assert old
        assert new == {(path, line.replace(newest, version)) for path, line in old}


def lines(project):
    """Return the lines of all files but the secrets, each with its path."""
    return {(path, line) for path, text in texts(project).items() for line in text.splitlines()}


def test_table_contains_the_options_and_neither_name_nor_license():
    assert {"python_version", "use_postgres", "frontend"} <= pairwise.questions().keys()
    assert not {"project_name", "license"} & pairwise.questions().keys()
