"""Right answers in a cell, by hand."""

import math
from collections import Counter
from decimal import Decimal

import pytest

from train.problems.golds import AnswerError, clean, final_answer, golds, is_explanation, is_whole


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        ("5", ("5",)),
        (" 5\n", ("5",)),
        (5, ("5",)),
        (10**30, ("1" + "0" * 30,)),
        (5.0, ("5.0",)),
        (0.1, ("0.1",)),
        (-2.5, ("-2.5",)),
        (1e-7, ("0.0000001",)),
        (1.5e-300, (r"1.5 \times 10^{-300}",)),
        (-2e300, (r"-2 \times 10^{300}",)),
        (math.nan, ()),
        (math.inf, ()),
        (Decimal("5.00"), ("5.00",)),
        (True, ("True",)),
        (None, ()),
        ("", ()),
        (["1", "1", " 2 "], ("1", "2")),
        ([5, None, 2.5], ("5", "2.5")),
        ([["a"], ["b", "c"]], ("a", "b", "c")),
        ('["a", "b"]', ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        ("[1, 2]", ("[1, 2]",)),
        ("[1, 2)", ("[1, 2)",)),
        ("{1, 2}", ("{1, 2}",)),
        ("{}", ("{}",)),
        ("{x}", ("{x}",)),
        ({"value": "Ann", "aliases": ["Ann", "A."]}, ("Ann", "A.")),
        ({"text": ["Ann"], "answer_start": [3]}, ("Ann",)),
        ('{"ground_truth": 5}', ("5",)),
        ("text\n#### 72", ("72",)),
        ("steps #### 1,072", ("1,072",)),
        ("####5\n", ("5",)),
        ("#### Heading\nSo we get 5.", ("#### Heading\nSo we get 5.",)),
        ("$69$,$84$", ("69,84",)),
        (r"\$5", (r"\$5",)),
        (r"\(x + 1\)", ("x + 1",)),
        (r"\(x\) or \(y\)", (r"\(x\) or \(y\)",)),
        (r"so $\boxed{3}$ and then \boxed{\frac{1}{2}}", (r"\frac{1}{2}",)),
        (r"so $\boxed{3}$ and $\boxed{4}$.", ("4", "3,4")),
        ("We add.\n#### 5\nThe answer is: 5", ("5",)),
        ("Therefore, the answer is 5.", ("5",)),
        ("proof", ()),
        ("9 (apples)", ("9",)),
        ("2 (m)(n)", ("2 (m)(n)",)),
        ("f (x)", ("f (x)",)),
    ],
)
def test_golds(value, answers):
    assert golds(value) == answers


def test_worked_solutions_without_a_marked_answer_have_none():
    assert golds("no box", worked=True) == golds(r"cut \boxed{}", worked=True) == ()
    assert golds([r"\boxed{1}", "prose", r"\boxed{2}"], worked=True) == ("1", "2")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"#### Step 1\nfirst \boxed{4}. Last: $\boxed{5}$", "5"),
        ("So #### 4\nis not the end.", None),
        (r"\boxed{4}\n#### 5", "5"),
        (r"#### Answer: \boxed{5}", "5"),
        ("Answer is unknown.\nStill.", None),
        ("", None),
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text.replace(r"\n", "\n")) == answer


@pytest.mark.parametrize(
    "value",
    [{"a": 1}, {"value": None}, b"5", "['a' 'b']", [{"a": 1}]],
    ids=["object", "empty", "bytes", "array", "in a list"],
)
def test_what_is_no_answer_is_refused(value):
    with pytest.raises(AnswerError):
        golds(value)


def test_whole_floats_are_integers_only_where_all_are():
    assert is_whole([5.0, None, math.nan, -3.0, 7])
    assert not any(is_whole(values) for values in ([5.0, 2.5], [5, None], ["5.0"], [1e16], [True], []))
    assert golds(5.0, whole=True) == golds([5.0], whole=True) == ("5",)
    assert golds(-0.0, whole=True) == ("-0",) or golds(-0.0, whole=True) == ("0",)


def test_what_was_decided_is_counted():
    told = Counter()
    for value in ("proof", "notfound", "9 (apples)", "5"):
        golds(value, told=told)
    assert told == {"none": 2, "unit": 1}


@pytest.mark.parametrize(
    ("answer", "explains"),
    [
        ("5", False),
        (r"All even integers $n \ge 4$ with $n \ne 6$ and no others", False),
        (r"f(x) = \begin{cases} x & \text{if } x > 0 \\ 0 & \text{otherwise} \end{cases}", False),
        ("First we add two and three. Then we halve the sum.", True),
        ("word " * 25, True),
    ],
)
def test_explanations_are_told_from_answers(answer, explains):
    assert is_explanation(answer) is explains


def test_clean_keeps_what_it_does_not_know():
    for text, cleaned in ((r"\[ 5 \]", "5"), ("$", ""), (r"\left(1, 2\right)",) * 2, (r"\text{no}",) * 2):
        assert clean(text) == cleaned
