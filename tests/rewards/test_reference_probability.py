"""RLPR and VeriFree against probabilities read from full float64 logits."""

import math

import helpers
import pytest
import torch
from helpers import grpo, history, ppo, trained
from tiny_models import judge_model, tiny_model, tiny_tokenizer, word_tokenizer

from rewards import FrozenBase, get_reward

PROMPTS = ["1+1=", "2*3=", "1+1="]
COMPLETIONS = [r"so \boxed{7} and \boxed{1}.", "none", r"\fbox {3"]
SOLUTIONS = [r"It is \boxed{12}.", "6", "12"]


def by_hand(model, tokenizer, context: str, answer: str) -> torch.Tensor:
    """The probability of each of the answer's tokens; the character tokenizer has one token a character."""
    context, answer = tokenizer(context)["input_ids"], tokenizer(answer)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([context + answer])).logits[0].double()
    p = logits.softmax(-1)[len(context) - 1 : -1]
    return p.gather(1, torch.tensor(answer)[:, None])[:, 0]


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_values_are_those_of_full_logits(batch_tokens):
    model, tokenizer = judge_model(seed=4), word_tokenizer()
    base, columns = FrozenBase(model, batch_tokens=batch_tokens), {"solution": SOLUTIONS}
    first = by_hand(model, tokenizer, r"1+1=so \boxed{7} and \boxed{", "12")
    third = by_hand(model, tokenizer, r"1+1=\fbox {", "12")
    bare = by_hand(model, tokenizer, r"1+1=\boxed{", "12")
    logged = {}
    verifree = get_reward("verifree")(base, tokenizer)
    got = verifree(PROMPTS, COMPLETIONS, log_metric=logged.__setitem__, **columns)
    assert got == pytest.approx([first.prod().item(), 0.0, third.prod().item()], rel=1e-3)
    assert logged == {"verifree/no_answer": 1 / 3}
    mean = get_reward("rlpr")(base, tokenizer, debias=False)(PROMPTS, COMPLETIONS, **columns)
    assert mean == pytest.approx([first.mean().item(), 0.0, third.mean().item()], rel=1e-3)
    forwards = base.forwards
    gain = get_reward("rlpr")(base, tokenizer)(PROMPTS, COMPLETIONS, **columns)
    expected = [max((x.mean() - bare.mean()).item(), 0) for x in (first, third)]
    assert gain == pytest.approx([expected[0], 0.0, expected[1]], abs=1e-6)
    assert max(expected) > 0
    if batch_tokens > 1:
        assert base.forwards == forwards + 2  # with and without reasoning


def test_an_answer_given_by_a_pattern_has_no_cue():
    model, tokenizer = tiny_model(initializer_range=0.2), tiny_tokenizer()
    base = FrozenBase(model)
    rlpr = get_reward("rlpr")(base, tokenizer, answer=r"=(\d)$", column="answer")
    assert [rlpr.reasoning(r) for r in ("a=1=2", "a=12", "")] == ["a=1=", None, None]
    with_z = by_hand(model, tokenizer, "1+1=a=1=", "8").item()
    bare = by_hand(model, tokenizer, "1+1=", "8").item()
    value = rlpr(["1+1="], ["a=1=2"], answer=["8"])[0]
    assert value == pytest.approx(max(with_z - bare, 0), abs=1e-6)
    verifree = get_reward("verifree")(base, tokenizer, answer=r"=(\d)$", column="answer")
    assert verifree(["1+1="], ["a=1=2"], answer=[8]) == pytest.approx([with_z], rel=1e-4)


def test_odd_input():
    base, tokenizer = FrozenBase(judge_model()), word_tokenizer()
    for name in ("rlpr", "verifree"):
        reward = get_reward(name)(base, tokenizer)
        with pytest.raises(ValueError, match=f"{name} needs the column 'solution'"):
            reward(PROMPTS, COMPLETIONS)
        none = reward(["a"] * 3, [r"\boxed{1}", "", r"\boxed{}"], solution=["", None, r"\boxed{}"])
        assert none == [None, None, None]
        assert reward(["a", "b"], ["", "no box"], solution=["1", "2"]) == [0.0, 0.0]
        assert reward([], [], solution=[]) == []
        with pytest.raises(ValueError, match=f"{name} has no model to score with"):
            get_reward(name)()(PROMPTS, COMPLETIONS, solution=SOLUTIONS)
        with pytest.raises(ValueError, match="online means that the policy scores"):
            get_reward(name)(base, tokenizer, online=True)


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_in_training_frozen_and_online_part_as_the_policy_moves(algorithm, saved_model, tmp_path, monkeypatch):
    monkeypatch.setattr(helpers, "PROMPTS", helpers.PROMPTS.add_column("solution", ["k"] * len(helpers.PROMPTS)))
    make, settings = get_reward("verifree"), {"answer": r"(.)$"}
    frozen, online = make(**settings), make(**settings, online=True)
    online.__name__ = "online_verifree"
    trainer = trained(algorithm(saved_model, tmp_path, rewards=[frozen, online], max_steps=8, learning_rate=0.05))
    ours = history(trainer, "rewards/verifree/mean")
    theirs = history(trainer, "rewards/online_verifree/mean")
    assert all(math.isfinite(x) and 0 < x < 1 for x in ours + theirs)
    assert theirs[0] == pytest.approx(ours[0], rel=1e-4)  # the policy is still its base
    assert abs(theirs[-1] - ours[-1]) > 1e-3 * ours[-1]
    assert all(p.requires_grad for p in trainer.model.parameters())
