"""What the trainers log of a rollout."""

import logging
import math

from helpers import history, ppo


def test_equal_rewards_are_said_and_harmless(saved_model, tmp_path, caplog):
    trainer = ppo(saved_model, tmp_path, [lambda completions, **_: [1.0] * len(completions)], kl_coef=0.0, max_steps=1)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "all 8 rewards of this rollout are equal (1)" in caplog.text
    assert math.isfinite(history(trainer, "loss")[0])
