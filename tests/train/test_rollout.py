"""What is known of a rollout."""

import logging
import math

import torch
from helpers import history, ppo

from train.rollout import without_reward


def test_which_responses_have_no_reward():
    nan = torch.nan
    raw = torch.tensor([[1.0, nan], [nan, 2.0], [nan, nan], [0.0, 0.0]])
    assert without_reward(raw, torch.tensor([1.0, 1.0])).tolist() == [False, False, True, False]
    assert without_reward(raw, torch.tensor([1.0, 0.0])).tolist() == [False, True, True, False]
    assert without_reward(raw, torch.tensor([0.0, 0.0])).tolist() == [False, False, True, False]


def test_equal_rewards_are_said_and_harmless(saved_model, tmp_path, caplog):
    trainer = ppo(saved_model, tmp_path, [lambda completions, **_: [1.0] * len(completions)], kl_coef=0.0, max_steps=1)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "all 8 rewards of this rollout are equal (1)" in caplog.text
    assert math.isfinite(history(trainer, "loss")[0])
