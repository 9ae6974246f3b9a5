"""Rewards with a base that they load themselves."""

import pytest

from rewards import EndoRM


def test_from_pretrained(saved_model):
    rm = EndoRM.from_pretrained(saved_model, device="cpu", discount=0.9)
    assert rm.eos_token_ids == {2, rm.tokenizer.convert_tokens_to_ids("<|im_end|>")}  # the chat template's end too
    rewards = rm.token_rewards(["ab", "c"], ["d", "efg"])
    assert [len(r) for r in rewards] == [2, 4]
    assert rm.score(["ab"], ["d"])[0] == pytest.approx(float(rewards[0][0] + 0.9 * rewards[0][1]), abs=1e-5)
