"""Rewards of the frozen base share its one forward in both trainers, and need a base."""

import math

import pytest
from helpers import grpo, history, ppo, trained
from tiny_models import tiny_tokenizer

from rewards import EndoRM, get_reward

NAMES = ("self_certainty", "negative_entropy", "mean_log_likelihood", "sequence_log_likelihood")


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_any_mix_of_them_takes_one_frozen_forward_a_rollout(algorithm, saved_model, tmp_path):
    rewards = [get_reward(name)() for name in NAMES] + [EndoRM(alpha=0.5), EndoRM(discount=0.9)]
    rewards[-1].__name__ = "endorm_discounted"
    trainer = trained(algorithm(saved_model, tmp_path, rewards=rewards, max_steps=4))
    assert trainer.frozen_base.forwards == 2
    assert trainer.alphas[0] == 0.5  # V for the critic is that of the first EndoRM
    for name in (*NAMES, "endorm", "endorm_discounted"):
        values = history(trainer, f"rewards/{name}/mean")
        assert len(values) == 2
        assert all(math.isfinite(x) for x in values)
    assert all(x >= 0 for x in history(trainer, "rewards/self_certainty/mean"))


def test_without_a_base_the_error_names_the_fix():
    with pytest.raises(ValueError, match="This SelfCertainty has no frozen base: build it with from_pretrained"):
        get_reward("self_certainty")(None, tiny_tokenizer()).score(["a"], ["b"])
