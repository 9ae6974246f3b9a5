"""Majority vote and cluster share: hand-made groups, and brute force over random ones in one and two processes."""

import json

import pytest
from launching import torchrun
from random_groups import random_groups, splits

from rewards.answers import cluster_answers, equivalent, extract_answer
from rewards.cluster_share import ClusterShare
from rewards.groups import gather_groups
from rewards.majority_vote import MajorityVote


def brute_force(groups, labels):
    """Both rewards by counting, from labels that are known and not from what is written."""
    rows = {group: [label for g, label in zip(groups, labels) if g == group] for group in set(groups)}
    votes, shares = [], []
    for group, label in zip(groups, labels):
        answers = [a for a in rows[group] if a is not None]
        most = max((answers.count(a) for a in answers), default=0)
        first = next((a for a in answers if answers.count(a) == most), "none")
        votes.append(1.0 if label == first else 0.0)
        shares.append(answers.count(label) / len(rows[group]))
    return {"majority_vote": votes, "cluster_share": shares}


def both(prompts, completions):
    return {r.__name__: r(prompts=prompts, completions=completions) for r in (MajorityVote(), ClusterShare())}


def test_hand_made_groups():
    completions = [r"\boxed{1/2}", r"\boxed{2}", "It is $0.5$.", "none", r"\boxed{2", r"\boxed{\frac12}"]
    rewards = both(["p"] * 6, completions)
    assert rewards["majority_vote"] == [1, 0, 1, 0, 0, 1]
    assert rewards["cluster_share"] == pytest.approx([3 / 6, 1 / 6, 3 / 6, 0, 0, 3 / 6])


def test_ties_go_to_the_first_and_prompts_do_not_mix():
    prompts = ["p", [{"role": "user", "content": "p"}], "p", "p", [{"role": "user", "content": "p"}], "p"]
    completions = [r"\boxed{1}", r"\boxed{4}", r"\boxed{2}", r"\boxed{2.0}", r"\boxed{5}", r"\boxed{1.0}"]
    assert both(prompts, completions)["majority_vote"] == [1, 1, 0, 0, 0, 1]
    assert both(prompts, completions)["cluster_share"] == [0.5] * 6


def test_no_answers_at_all():
    nothing = {"majority_vote": [0.0, 0.0], "cluster_share": [0.0, 0.0]}
    assert both(["p", "p"], ["", r"\boxed{}"]) == nothing
    assert both([], []) == {"majority_vote": [], "cluster_share": []}


def test_another_way_to_find_the_answer():
    def last_digit(text):
        return text[-1:] or None

    assert MajorityVote(extract=last_digit)(prompts=["p"] * 3, completions=["2974", "1114", "2975"]) == [1, 1, 0]
    assert ClusterShare(extract=last_digit)(prompts=["p"] * 2, completions=["2974", ""]) == [0.5, 0]


@pytest.mark.parametrize(
    "text, answer",
    [
        (r"\boxed{1} so \boxed{x=2}", "x=2"),
        (r"$\frac{1}{2}$ is the result", r"\frac{1}{2}"),
        ("first 3, then 4", "4"),
        ("the answer is 4, as 1 + 3", "4"),
        (r"\boxed{1} so \boxed{2", None),
        (r"5 \boxed{ }", None),
        ("no number", None),
        ("", None),
    ],
)
def test_extract_answer(text, answer):
    assert extract_answer(text) == extract_answer([{"role": "assistant", "content": text}]) == answer


def test_equivalence_does_not_depend_on_the_order():
    assert equivalent("1<x<2", "(1,2)")
    assert equivalent("(1,2)", "1<x<2")
    assert equivalent("?!", "?!")  # equal as text, though no formula
    assert not equivalent("?!", "1")


def test_each_text_is_parsed_once_and_equal_texts_are_not_compared(monkeypatch):
    import rewards.answers as module

    parsed, compared = [], []
    real_parse, real_verify = module.parse, module.verify
    monkeypatch.setattr(module, "parse", lambda text, **kw: parsed.append(text) or real_parse(text, **kw))
    monkeypatch.setattr(module, "verify", lambda a, b, **kw: compared.append((a, b)) or real_verify(a, b, **kw))
    assert cluster_answers(["301", "302", "301", "301.0", "302", None, "301"]) == [0, 1, 0, 0, 1, None, 0]
    assert sorted(parsed) == [r"\boxed{301.0}", r"\boxed{301}", r"\boxed{302}"]
    assert len(compared) == 2 + 1  # 301 and 302 in both orders; 301 and 301.0


def test_what_takes_too_long_counts_as_different(monkeypatch):
    monkeypatch.setattr("rewards.answers._SECONDS", 1)
    assert not equivalent("9^{9^{9}}", "5")
    assert cluster_answers(["9^{9^{9}}", "5", "9^{9^{9}}"]) == [0, 1, 0]


def test_gather_groups_in_one_process():
    groups, positions = gather_groups(["a", "b", "a"], [1, 2, 3])
    assert groups == [[1, 3], [2]]
    assert positions == [(0, 0), (1, 0), (0, 1)]
    with pytest.raises(ValueError, match="zip"):
        gather_groups(["a"], [1, 2])


def test_a_thousand_random_groups_in_one_process():
    prompts, completions, groups, labels = random_groups()
    expected = brute_force(groups, labels)
    assert {0.0, 1.0} == set(expected["majority_vote"])
    rewards = both(prompts, completions)
    for name, values in expected.items():
        assert rewards[name] == pytest.approx(values)


def test_a_thousand_random_groups_in_two_processes(tmp_path):
    torchrun("groups_worker.py", tmp_path)
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    prompts, _, groups, labels = random_groups()
    for name, shares in splits(prompts).items():
        order = [groups[share] for share in shares], [labels[share] for share in shares]
        assert set(order[0][0]) & set(order[0][1])  # groups that no process has whole
        for reward, values in brute_force(*(a + b for a, b in order)).items():
            found = [report[f"{name} {reward}"] for report in reports]
            assert [len(rows) for rows in found] == [len(rows) for rows in order[0]]
            assert found[0] + found[1] == pytest.approx(values)


def test_answers_by_a_regular_expression():
    prompts, completions = ["p"] * 4, ["12 then 7", [{"role": "assistant", "content": "97"}], "3", "none"]
    assert MajorityVote(extract=r"(\d)$")(prompts, completions) == [1.0, 1.0, 0.0, 0.0]
    assert ClusterShare(extract=r"\d$")(prompts, completions) == [0.5, 0.5, 0.25, 0.0]
