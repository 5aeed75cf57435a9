"""The table of answers with which tests generate projects."""

import pairwise


def test_each_pair_of_answers_is_in_a_row():
    answers = pairwise.questions()
    rows = pairwise.table(answers)

    for one, given in answers.items():
        for other in answers:
            together = {(row[one], row[other]) for row in rows}
            if one != other and not {(one, other), (other, one)} & pairwise.UNRELATED:
                assert together == {(a, b) for a in given for b in answers[other]}


def test_each_question_that_changes_code_is_in_the_table():
    assert {"python_version", "use_postgres", "frontend"} <= pairwise.questions().keys()
    assert not {"project_name", "license"} & pairwise.questions().keys()
