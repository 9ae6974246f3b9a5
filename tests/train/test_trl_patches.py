"""What TRL would log a hundred times is told once."""

import logging

import pytest
from helpers import grpo, ppo

from rewards import EndoRM


def some(completion_ids, **_):
    """Applies to every other response."""
    return [float(sum(ids) % 7) if i % 2 else None for i, ids in enumerate(completion_ids)]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_it_is_told_once_and_without_tensors(algorithm, saved_model, tmp_path, caplog):
    trainer = algorithm(saved_model, tmp_path, rewards=[EndoRM(), some], reward_weights=[0.0, 1.0], max_steps=6)
    plain = algorithm(saved_model, tmp_path, rewards=[some], max_steps=6)
    with caplog.at_level(logging.WARNING):
        trainer.train()
        plain.train()
    told = [r.getMessage() for r in caplog.records if "returned None" in r.getMessage()]
    assert len(told) <= 1
    assert not any("tensor(" in message for message in (r.getMessage() for r in caplog.records))
