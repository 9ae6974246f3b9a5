"""Mean and sum of a response's log-likelihood against full float64 logits, and the sum against EndoRM."""

import pytest
from label_free import architectures, assert_values_are_those_of_full_logits, batches
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM, FrozenBase, get_reward


@architectures
@batches
@pytest.mark.parametrize("name", ["mean_log_likelihood", "sequence_log_likelihood"])
def test_values_are_those_of_full_logits_whatever_the_batch(name, architecture, batch_tokens):
    assert_values_are_those_of_full_logits(name, architecture, batch_tokens)


def test_the_link_to_endorm():
    base, tokenizer = FrozenBase(tiny_model()), tiny_tokenizer()
    prompts, texts = ["ab"] * 3, ["c", "defg", "hijklmn"]
    endorm = EndoRM(base, tokenizer, form="logprob").score(prompts, texts)
    assert get_reward("sequence_log_likelihood")(base, tokenizer).score(prompts, texts) == pytest.approx(
        endorm, abs=1e-4
    )
