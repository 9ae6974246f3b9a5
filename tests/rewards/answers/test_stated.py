"""Answers without a box: what follows "answer is", or the last formula or number."""

import pytest

from rewards.answers import final_answer, gold_answer
from rewards.answers.stated import is_bare, stated_answer


@pytest.mark.parametrize("sign", [".", ",", "!", ";", "", " ", ".\n", ". I hope it is correct.", ", as claimed."])
@pytest.mark.parametrize(
    "answer", ["2/3", "12 - 5", "-3/4", "0.5", "1,000", "2^10", "x = 5", "(2, 3)", r"\frac{2}{3}", r"\$32,\!348"]
)
def test_what_follows_an_answer_is_no_part_of_it(answer, sign):
    assert stated_answer(f"So the answer is {answer}{sign}") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("the answer is 4, as 1 + 3", "4"),
        ("Answer: $5$.", "5"),
        ("**Answer:** 2/3.", "2/3"),
        ("**Answer: 2/3**", "2/3"),
        ("The final answer is $1$ and $2$.", "1, 2"),
        ("The answer is (C).", "(C)"),
        ("The answer is Evelyn.", "Evelyn"),
        ("Final Answer: The largest $n$ is 34.", "34"),
        ("The answer is x < 3.", "x < 3"),
        ("The answer is $4$. It follows from 5." + " It follows." * 1000, "4"),
        ("The answer is 4. The answer is clear.", "4"),
        ("#### 72", "72"),
        (r"$\frac{1}{2}$ is the result", r"\frac{1}{2}"),
        ("first 3, then 4", "4"),
        ("so we get 12.", "12"),
        ("So x = 3/4.", "x = 3/4"),
        (r"So it is $1-\frac{1}{\mathrm e}$.", r"1-\frac{1}{\mathrm e}"),
        (r"\frac12", r"\frac12"),
        ("2xy + 10x", "2xy + 10x"),
        ("xy", "xy"),
        ("no number", None),
        ("", None),
    ],
)
def test_stated_answer(text, answer):
    assert stated_answer(text) == answer


def test_a_box_comes_before_what_is_stated():
    assert final_answer(r"\boxed{1}. The answer is 2.") == "1"
    assert final_answer(r"The answer is 2. \boxed{1") is None
    assert final_answer("The answer is 2.", boxed_only=True) is None


@pytest.mark.parametrize(
    ("reference", "gold"),
    [
        ("5", "5"),
        (5, "5"),
        (0.25, "0.25"),
        (r"Half, \boxed{0.5}.", "0.5"),
        ("Natalia sold 48/2 = 24 clips.\n#### 24", "24"),
        ("The answer is $4$.", "4"),
        ("Half, so $1/2$.", "1/2"),
        ("Monday and Tuesday", "Monday and Tuesday"),
        (r"x=1 \text{ or } x=2", r"x=1 \text{ or } x=2"),
        (None, None),
        ("", None),
        (r"\boxed{5", None),
    ],
)
def test_gold_answer(reference, gold):
    assert gold_answer(reference) == gold


def test_an_answer_alone_is_known_from_a_sentence():
    assert all(
        is_bare(text) for text in (r"\sqrt2", "x=1 or x=2", r"\text{Evelyn}", r"\text{no solution}", "-(ab + ac)")
    )
    assert not any(is_bare(text) for text in ("It is 5", "Evelyn", "5 apples", "The answer is 5", ""))
