"""What the tests of the label-free rewards share: architectures, batches, and one comparison with full logits."""

import full_logits
import pytest
from tiny_models import tiny_model, tiny_tokenizer

from rewards import FrozenBase, get_reward

architectures = pytest.mark.parametrize("architecture", ["qwen2", "gemma2", "cohere", "gpt2"])
batches = pytest.mark.parametrize("batch_tokens", [1, 4096])


def assert_values_are_those_of_full_logits(name: str, architecture: str, batch_tokens: int) -> None:
    """Of three responses, one of them empty."""
    model, tokenizer = tiny_model(architecture), tiny_tokenizer()
    base = FrozenBase(model, batch_tokens=batch_tokens, block=(3, 40))
    prompts, texts = ["a+b=", "x", "cde"], ["cd", "", "efghij"]
    scores = get_reward(name)(base, tokenizer).score(prompts, texts)
    for prompt, text, score in zip(prompts, texts, scores):
        ids = [tokenizer(t)["input_ids"] for t in (prompt, text)]
        expected = full_logits.statistics(model, ids[0], ids[1] + [2])[name]
        assert score == pytest.approx(expected, abs=1e-4)
