"""Right answers of whole columns: what is decided for all rows, what is left out, and how both are told."""

import pytest

from rewards.reading.table import Table
from train.problems.answers import missing_answers
from train.problems.columns import Columns, pick
from train.problems.reader import read_problems


def read(rows, **flags):
    reading = read_problems(Table("t", [{"problem": "p"} | row for row in rows]), Columns(**flags))
    return [() if item.left_out else item.golds for item in reading.items], reading.notes


@pytest.mark.parametrize(
    ("rows", "golds", "notes"),
    [
        (
            [{"answer": 5}, {"answer": "x"}, {"answer": 2.0}],
            [("5",), ("x",), ("2",)],
            ["1 numbers in column answer are written without their .0"],
        ),
        ([{"answer": 5.0}, {"answer": 2.5}], [("5.0",), ("2.5",)], []),
        (
            [{"answer": None, "solution": r"\boxed{3}"}, {"answer": "4", "solution": r"\boxed{3}"}],
            [("3",), ("4",)],
            ["1 answers that column answer lacks are taken from solution"],
        ),
        ([{"answer": "", "solution": "no box"}, {"answer": "4", "solution": ""}], [(), ("4",)], []),
        ([{"solution": ["a", r"\boxed{3}"]}, {"solution": None}], [("3",), ()], []),
        (
            [{"solution": "3"}, {"solution": "4"}],
            [("3",), ("4",)],
            ["2 answers are the whole of column solution: no box in it"],
        ),
        ([{"solution": "3"}, {"solution": "so it is " * 20}], [(), ()], []),
        ([{"final_answer": ["1", "2"]}], [("1", "2")], []),
        (
            [{"answer": "5"}, {"answer": "5"}, {"answer": "First we add. Then we halve all of it. It is five."}],
            [("5",), ("5",), ()],
            ["1 explanations in column answer are taken for no answer"],
        ),
        (
            [{"choices": ["x", "y"], "answer": a} for a in ("A", "B", "Z", ["A", "B"], None, "B")],
            [("A",), ("B",), (), (), (), ("B",)],
            ["2 rows whose answer is none of their choices are left out, such as 'Z' in row 3"],
        ),
        ([{"choices": None, "answer": "5"}, {"choices": ["x", "y"], "answer": "x"}], [("5",), ("A",)], []),
        (
            [{"choices": ["x", None, "y"], "answer": "A"}, {"choices": ["x", "y"], "answer": "A"}],
            [(), ("A",)],
            ["1 rows with unreadable choices are left out: row 1 holds a gap"],
        ),
    ],
)
def test_columns_of_answers(rows, golds, notes):
    found, said = read(rows)
    assert found == golds
    assert len(said) == len(notes)
    assert all(f"t: {note}" in text for note, text in zip(notes, said))


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        (
            [{"answer": {"a": 1}}],
            {},
            "t, row 1: column 'answer' must hold .* an object with the fields a. .*answer.FIELD.*''",
        ),
        ([{"answer": "5"}, {"answer": b"5"}], {}, "t, row 2: column 'answer' .* a bytes"),
        (
            [{"answer": "First we add. Then we halve all of it. It is five."}],
            {},
            "explanations and not final answers in 1 of 1 rows.*''",
        ),
        (
            [{"choices": ["x", "y"], "answer": "Z"}],
            {},
            "column answer names a choice in 0 of 1 rows only.*--choices_column ''",
        ),
        (
            [{"choices": "x; y", "answer": "x"}],
            {},
            "t: column choices cannot be read as choices: row 1 holds a text.*--choices_column",
        ),
        ([{"problem": {"t": 1}}], {}, "t, row 1: column 'problem' must hold text.*--problem_column problem.t"),
        ([{"problem": "p"}, {"problem": ["q"]}], {}, "t, row 2: column 'problem' must hold text .* not list"),
        ([{"solution": [{"a": 1}]}], {}, "t, row 1: column 'solution' must hold text.*--solution_column, or ''"),
        ([{"context": "c"}, {"context": ["c"]}], {}, "t, row 2: column 'context' must hold text.*--context_column"),
    ],
)
def test_columns_that_cannot_be_read_are_refused_with_row_and_flag(rows, flags, message):
    with pytest.raises(ValueError, match=message):
        read(rows, **flags)


def test_the_kind_of_answer_can_be_said():
    rows = [{"choices": ["1", "2", "3"], "answer": "2"}]
    for kind, letter in (("text", "B"), ("index", "C"), ("index1", "B")):
        assert read(rows, answer_kind=kind)[0] == [(letter,)]
    assert read(rows, choices="")[0] == [("2",)]


def test_where_answers_might_be_is_said():
    table = Table("t", [{"problem": "p", "note": "n", "work": r"so \boxed{5}"}])
    assert "has no column of answers (answer_number, answer, " in missing_answers(table, pick(table, Columns()))
    assert (
        "columns found: problem, note, work. Name the right one, for example --answer_column work"
        in missing_answers(table, pick(table, Columns()))
    )
