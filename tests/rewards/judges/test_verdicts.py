"""Verdicts read from the end of what a judge wrote: thoughts, forms, and answers that break off."""

import re

import pytest

from rewards import PairwiseJudge, PointwiseJudge
from rewards.judges.verdicts import last_verdict, parse_choice, without_thoughts


@pytest.mark.parametrize(
    "text,rest",
    [
        ("plain", "plain"),
        ("<think>a</think>b", "b"),
        ("b<think>a</think>", "b"),
        ("<think>a</think>b<think>c\nd</think>e", "be"),
        ("<think>a <think> b</think> c</think>d", "d"),
        ("begun by the prompt</think>d", "d"),
        ("begun</think>d<think>e</think>f", "df"),
        ("<think>never ended", ""),
        ("said before <think>never ended", ""),
        ("<think>a</think>b<think>", ""),
        ("", ""),
    ],
)
def test_without_thoughts(text, rest):
    assert without_thoughts(text) == rest


@pytest.mark.parametrize(
    "text,choice",
    [
        ("Verdict: [[A]]", "A"),
        ("A names the capital, B does not.\nVerdict: [[B]]", "B"),
        ("Verdict: [[tie]]", "tie"),
        ("**Verdict: [[ Tie ]]**\n", "tie"),
        ("[[a]]", "A"),
        ("[[Response B]]", "B"),
        ("At first I would say [[A]]. But it names no capital. [[B]].", "B"),
        ("Verdict: B. On second thoughts [[A]]", "A"),
        ("[[A]]\nVerdict: B", "A"),  # brackets are more explicit than what comes after them
        ("Verdict: A", "A"),
        ("**Verdict:** **B**", "B"),
        ("The better answer is B.", "B"),
        ("Winner = Response A", "A"),
        ("the verdict is Tie", "tie"),
        (" B.", "B"),
        ("Response A", "A"),
        ("[[A]] is better.", "A"),
        ("[[A]] is better.\nAlso, it is", "A"),
        ("perhaps [[A]], or", None),
        ("[[A]]. Then again, [[B]] would", None),
        ("[[A or B]]", None),
        ("Verdict: [[A]] or [[B]].", None),
        ("[[A]]/[[B]]", None),
        ("[[B]][[A]]", None),
        ("[[A]], [[A]]", "A"),
        ("[[A]] or [[B]]? The second: [[B]]", "B"),
        ("[[A]]\n[[B]]", "B"),
        ("[[C]]", None),
        ("[[verdict]]", None),
        ("The answer is a good one.", None),
        ("Verdict: A and B are equal.", None),
        ("Verdict: A/B", None),
        ("Answer A is right.", None),
        ("Both are right.", None),
        ("A is right, B is wrong.", None),
        ("<think>[[A]], surely</think>[[B]]", "B"),
        ("<think>[[A]]</think>", None),
        ("<think>It is [[A]]", None),
        ("[[A]] <think>or is it", None),
        ("It is [[A]]</think>\n\nVerdict: [[B]]", "B"),
        ("", None),
    ],
)
def test_choices(text, choice):
    assert parse_choice(text) == choice


def test_other_choices():
    assert parse_choice("[[1]] then [[2]]", ("1", "2")) == "2"
    assert parse_choice("Verdict: [[tie]]", ("1", "2")) is None
    assert parse_choice("[[+]]", ("+", "-")) == "+"


def test_the_most_explicit_form_counts_and_an_open_sentence_only_where_it_may():
    forms = [re.compile(r"<(\d)>"), re.compile(r"(\d)")]
    assert last_verdict("<1> <2> 3", forms) == "2"
    assert last_verdict("<1> <2> 3", forms, settled=True) is None
    assert last_verdict("4 then 3", forms, settled=True) == "3"
    assert last_verdict("4, 3", forms, settled=True) is None
    assert last_verdict("four", forms) is None


@pytest.mark.parametrize("judge", [PointwiseJudge, PairwiseJudge])
@pytest.mark.parametrize("value", [-1, 1.5, "64", True, None])
def test_a_budget_that_is_none(judge, value):
    with pytest.raises(ValueError, match=f"reason_tokens is {value!r}: set it to the most tokens"):
        judge(reason_tokens=value)
