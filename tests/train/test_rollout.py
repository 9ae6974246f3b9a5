"""What is known of a rollout."""

import torch

from train.rollout import without_reward


def test_which_responses_have_no_reward():
    nan = torch.nan
    raw = torch.tensor([[1.0, nan], [nan, 2.0], [nan, nan], [0.0, 0.0]])
    assert without_reward(raw, torch.tensor([1.0, 1.0])).tolist() == [False, False, True, False]
    assert without_reward(raw, torch.tensor([1.0, 0.0])).tolist() == [False, True, True, False]
    assert without_reward(raw, torch.tensor([0.0, 0.0])).tolist() == [False, False, True, False]
