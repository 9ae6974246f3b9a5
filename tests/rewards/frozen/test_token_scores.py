"""The statistics of one response's tokens."""

from transformers import AutoModelForCausalLM

from rewards import FrozenBase


def test_scores_are_shown_in_one_line(saved_model):
    scores = FrozenBase(AutoModelForCausalLM.from_pretrained(saved_model)).score([[5]], [[6, 7, 2]])[0]
    assert repr(scores) == "TokenScores of 3 tokens"
