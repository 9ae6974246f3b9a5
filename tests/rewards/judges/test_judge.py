"""A local judge's log-probabilities, whatever the batches."""

import pytest
from tiny_models import judge_model, word_tokenizer

from rewards import FrozenBase, GenerativeVerifier

PROMPTS = ["What is 2+2?", [{"role": "user", "content": "Name a colour."}], "Hi"]


RESPONSES = ["4", [{"role": "assistant", "content": "Red, of course. " * 4}], "{prompt} {response} Answer: Yes"]


def test_batches_and_padding_change_nothing():
    model, tokenizer = judge_model(), word_tokenizer()
    together = FrozenBase(model)
    alone = FrozenBase(model, batch_tokens=1)
    a, b = (GenerativeVerifier(base, tokenizer).score(PROMPTS, RESPONSES) for base in (together, alone))
    assert a == pytest.approx(b, abs=1e-4)
    assert (together.forwards, alone.forwards) == (1, 3)
    assert GenerativeVerifier(together, tokenizer).score([], []) == []
