"""Self-certainty against full float64 logits, and its lower bound."""

from label_free import architectures, assert_values_are_those_of_full_logits, batches
from tiny_models import tiny_model, tiny_tokenizer

from rewards import FrozenBase, get_reward


@architectures
@batches
def test_values_are_those_of_full_logits_whatever_the_batch(architecture, batch_tokens):
    assert_values_are_those_of_full_logits("self_certainty", architecture, batch_tokens)


def test_it_is_at_least_zero():
    base = FrozenBase(tiny_model())
    assert min(get_reward("self_certainty")(base, tiny_tokenizer()).score(["ab"] * 3, ["c", "defg", "hijklmn"])) >= 0
