"""Choices in all their layouts, and which one an answer means."""

import pytest

from train.problems.choices import ChoiceError, Choices, choose_kind, read_choices, with_right

ABC = Choices(("4", "5", "6"), ("A", "B", "C"))


@pytest.mark.parametrize(
    "cell",
    [
        ["4", "5", "6"],
        [4, 5, 6],
        ["4", "5", "6", None, ""],
        ["A)4", "B)5", "C)6"],
        ["(A) 4", "(B) 5", "(C) 6"],
        {"text": ["4", "5", "6"], "label": ["A", "B", "C"]},
        {"A": "4", "B": "5", "C": "6", "D": None},
        [{"label": "A", "text": "4"}, {"label": "B", "text": "5"}, {"label": "C", "text": "6"}],
        [{"key": "A", "value": 4}, {"key": "B", "value": 5}, {"key": "C", "value": 6}],
        '["4", "5", "6"]',
        "['4', '5', '6']",
        "[4, 5, 6]",
        '{"A": "4", "B": "5", "C": "6"}',
        "a ) 4 , b ) 5 , c ) 6",
        "(A) 4 (B) 5 (C) 6",
        "A. 4\nB. 5\nC. 6",
    ],
    ids=str,
)
def test_one_column(cell):
    assert read_choices([cell], ["choices"]) == ABC


def test_columns_of_their_own():
    assert read_choices(["4", "5", "6", None], ["A", "B", "C", "D"]) == ABC
    assert read_choices(["4", "5"], ["option1", "option2"]) == Choices(("4", "5"), ("1", "2"))
    assert read_choices([None, None], ["option1", "option2"]) is None


@pytest.mark.parametrize("cell", [None, [], "", ["", None]])
def test_no_choices(cell):
    assert read_choices([cell], ["choices"]) is None


@pytest.mark.parametrize(
    "cell",
    [
        ["4", None, "6"],
        ["4"],
        "4; 5; 6",
        "4",
        5,
        [{"x": 1}],
        {"text": ["a", "b"], "label": ["A", "A"]},
        list(range(27)),
        "['a' 'b']",
    ],
    ids=str,
)
def test_other_cells_are_refused(cell):
    with pytest.raises(ChoiceError):
        read_choices([cell], ["choices"])


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        ("B", {"letter": 1}),
        ("b", {"letter": 1}),
        ("(B)", {"letter": 1}),
        ("B.", {"letter": 1}),
        ("Option B", {"letter": 1}),
        ("B) 5", {"letter": 1}),
        ("(B) 5", {"letter": 1}),
        ("B) 6", {}),
        (1, {"index": 1, "index1": 0}),
        (1.0, {"index": 1, "index1": 0}),
        ("1", {"index": 1, "index1": 0}),
        (0, {"index": 0}),
        (3, {"index1": 2}),
        (5, {"text": 1}),
        (" 5 ", {"text": 1}),
        ("-1", {}),
        ("A, B", {}),
        ("AB", {}),
        ("D", {}),
        (float("inf"), {}),
    ],
)
def test_positions(answer, means):
    assert ABC.positions(answer) == means


def test_names_of_the_data_come_first():
    assert Choices(("x", "y"), ("1", "2")).positions("2") == {"letter": 1, "index1": 1}
    assert Choices(("x", "x"), ("A", "B")).positions("x") == {}


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["A", "B", "C"], "letter"),
        (["4", "6"], "text"),
        ([0, 1, 2], "index"),
        ([1, 1], "index"),
        (["1", "2"], "index"),
        ([1, 2, 3], "index1"),
        ([1, 0, 7], "index"),
        (["A", "Z", "B", "5"], "letter"),
    ],
)
def test_the_kind_that_fits_most_rows(answers, kind):
    found, note = choose_kind([ABC.positions(a) for a in answers], not isinstance(answers[0], str), "gold")
    assert found == kind
    assert (note != "") == kind.startswith("index")


def test_what_can_be_read_in_two_ways_is_refused():
    digits = Choices(("1", "2", "3"), ("A", "B", "C"))
    for answer, first, second in ((1, "index", "text"), ("1", "text", "index")):
        with pytest.raises(ValueError, match=f"two ways.*--answer_kind {first} or --answer_kind {second}"):
            choose_kind([digits.positions(answer)], isinstance(answer, int), "gold")
    swapped = Choices(("B", "A"), ("A", "B"))
    with pytest.raises(ValueError, match="--answer_kind letter or --answer_kind text"):
        choose_kind([swapped.positions("A")], False, "gold")
    numbered = Choices(("x", "y"), ("1", "2"))
    with pytest.raises(ValueError, match="two ways"):  # 0 and 1, or 1 and 2?
        choose_kind([numbered.positions(1)], True, "gold")
    assert choose_kind([numbered.positions(1), numbered.positions(0)], True, "gold")[0] == "index"
    with pytest.raises(ValueError, match="names a choice in 1 of 3 rows only: .*--choices_column ''"):
        choose_kind([ABC.positions(a) for a in ("A", "x", "y")], False, "gold")


def test_the_order_depends_on_the_question_alone():
    made = with_right("5", ["4", "6", "7"], "2 + 3?")
    assert made == with_right("5", ["4", "6", "7"], "2 + 3?")
    assert made.texts[made.right] == "5"
    places = [with_right("5", ["4", "6", "7"], f"{n}?").right for n in range(400)]
    assert all(60 < places.count(place) < 140 for place in range(4))
    assert with_right(None, ["4"], "?") is None


def test_choices_that_the_problem_shows_are_not_shown_again():
    assert ABC.shown("2 + 3? (A) 4 (B) 5 (C) 6") == "2 + 3? (A) 4 (B) 5 (C) 6"
    assert ABC.shown("4, 5, 6?") == "4, 5, 6?\n\nA. 4\nB. 5\nC. 6\n\nAnswer with the letter of the right choice."
