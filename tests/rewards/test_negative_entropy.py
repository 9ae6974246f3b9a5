"""Negative entropy against full float64 logits, and its bounds."""

import math

from label_free import architectures, assert_values_are_those_of_full_logits, batches
from tiny_models import VOCAB_SIZE, tiny_model, tiny_tokenizer

from rewards import FrozenBase, get_reward


@architectures
@batches
def test_values_are_those_of_full_logits_whatever_the_batch(architecture, batch_tokens):
    assert_values_are_those_of_full_logits("negative_entropy", architecture, batch_tokens)


def test_it_lies_between_that_of_the_uniform_distribution_and_zero():
    base = FrozenBase(tiny_model())
    scores = get_reward("negative_entropy")(base, tiny_tokenizer()).score(["ab"] * 3, ["c", "defg", "hijklmn"])
    assert all(-math.log(VOCAB_SIZE) <= x <= 0 for x in scores)
