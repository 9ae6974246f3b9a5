"""Majority vote on groups made by hand, and against brute force over random ones."""

import pytest
from random_groups import brute_force, random_groups

from rewards.majority_vote import MajorityVote


def test_hand_made_groups():
    completions = [r"\boxed{1/2}", r"\boxed{2}", "It is $0.5$.", "none", r"\boxed{2", r"\boxed{\frac12}"]
    assert MajorityVote()(prompts=["p"] * 6, completions=completions) == pytest.approx([1, 0, 1, 0, 0, 1])


def test_ties_and_prompts_that_do_not_mix():
    prompts = ["p", [{"role": "user", "content": "p"}], "p", "p", [{"role": "user", "content": "p"}], "p"]
    completions = [r"\boxed{1}", r"\boxed{4}", r"\boxed{2}", r"\boxed{2.0}", r"\boxed{5}", r"\boxed{1.0}"]
    assert MajorityVote()(prompts=prompts, completions=completions) == [1, 1, 0, 0, 0, 1]  # to the first


def test_no_answers_at_all():
    assert MajorityVote()(prompts=["p", "p"], completions=["", r"\boxed{}"]) == [0.0, 0.0]
    assert MajorityVote()(prompts=[], completions=[]) == []


def test_another_way_to_find_the_answer():
    def last_digit(text):
        return text[-1:] or None

    completions = ["2974", "1114", "2975"]
    assert MajorityVote(extract=last_digit)(prompts=["p"] * len(completions), completions=completions) == [1, 1, 0]


def test_answers_by_a_regular_expression():
    prompts, completions = ["p"] * 4, ["12 then 7", [{"role": "assistant", "content": "97"}], "3", "none"]
    assert MajorityVote(extract=r"(\d)$")(prompts, completions) == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.slow
def test_a_thousand_random_groups():
    prompts, completions, groups, labels = random_groups()
    expected = brute_force(groups, labels)["majority_vote"]
    assert MajorityVote()(prompts=prompts, completions=completions) == pytest.approx(expected)
    assert {0.0, 1.0} <= set(expected)
