"""VeriFree against probabilities read from full float64 logits, and in training."""

import math

import helpers
import pytest
from full_logits import answer_probabilities
from helpers import grpo, history, ppo, trained
from references import COMPLETIONS, PROMPTS, SOLUTIONS
from tiny_models import judge_model, tiny_model, tiny_tokenizer, word_tokenizer

from rewards import FrozenBase, get_reward


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_values_are_those_of_full_logits(batch_tokens):
    model, tokenizer = judge_model(seed=4), word_tokenizer()
    base = FrozenBase(model, batch_tokens=batch_tokens)
    first = answer_probabilities(model, tokenizer, r"1+1=so \boxed{7} and \boxed{", "12")
    third = answer_probabilities(model, tokenizer, r"1+1=\fbox {", "12")
    logged = {}
    verifree = get_reward("verifree")(base, tokenizer)
    got = verifree(PROMPTS, COMPLETIONS, log_metric=logged.__setitem__, solution=SOLUTIONS)
    assert got == pytest.approx([first.prod().item(), 0.0, third.prod().item()], rel=1e-3)
    assert logged == {"verifree/no_answer": 1 / 3}


def test_an_answer_given_by_a_pattern_has_no_cue():
    model, tokenizer = tiny_model(initializer_range=0.2), tiny_tokenizer()
    with_z = answer_probabilities(model, tokenizer, "1+1=a=1=", "8").item()
    verifree = get_reward("verifree")(FrozenBase(model), tokenizer, answer=r"=(\d)$", column="answer")
    assert verifree(["1+1="], ["a=1=2"], answer=[8]) == pytest.approx([with_z], rel=1e-4)


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
