"""Label-free rewards of the frozen base against full float64 logits, in batches or alone, and in both trainers."""

import math

import pytest
import torch
from helpers import grpo, history, ppo, trained
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM, FrozenBase, get_reward

NAMES = ("self_certainty", "negative_entropy", "mean_log_likelihood", "sequence_log_likelihood")


def by_hand(model, prompt, response):
    """The four rewards of one response from its full logits."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0].double()
    z = logits[len(prompt) - 1 : -1]
    log_p = z.log_softmax(-1)
    taken = log_p.gather(1, torch.tensor(response)[:, None])[:, 0]
    return {
        "self_certainty": (-log_p.mean(1) - math.log(z.shape[1])).mean().item(),
        "negative_entropy": (log_p.exp() * log_p).sum(1).mean().item(),
        "mean_log_likelihood": taken.mean().item(),
        "sequence_log_likelihood": taken.sum().item(),
    }


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2", "cohere", "gpt2"])
@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_values_are_those_of_full_logits_whatever_the_batch(architecture, batch_tokens):
    model, tokenizer = tiny_model(architecture), tiny_tokenizer()
    base = FrozenBase(model, batch_tokens=batch_tokens, block=(3, 40))
    prompts, texts = ["a+b=", "x", "cde"], ["cd", "", "efghij"]
    for name in NAMES:
        scores = get_reward(name)(base, tokenizer).score(prompts, texts)
        for prompt, text, score in zip(prompts, texts, scores):
            ids = [tokenizer(t)["input_ids"] for t in (prompt, text)]
            assert score == pytest.approx(by_hand(model, ids[0], ids[1] + [2])[name], abs=1e-4)


def test_bounds_and_the_link_to_endorm():
    base, tokenizer = FrozenBase(tiny_model()), tiny_tokenizer()
    prompts, texts = ["ab"] * 3, ["c", "defg", "hijklmn"]
    scores = {name: get_reward(name)(base, tokenizer).score(prompts, texts) for name in NAMES}
    assert min(scores["self_certainty"]) >= 0
    assert all(-math.log(97) <= x <= 0 for x in scores["negative_entropy"])
    endorm = EndoRM(base, tokenizer, form="logprob").score(prompts, texts)
    assert scores["sequence_log_likelihood"] == pytest.approx(endorm, abs=1e-4)


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_any_mix_of_them_takes_one_frozen_forward_a_rollout(algorithm, saved_model, tmp_path):
    rewards = [get_reward(name)() for name in NAMES] + [EndoRM(alpha=0.5), EndoRM(discount=0.9)]
    rewards[-1].__name__ = "endorm_discounted"
    trainer = trained(algorithm(saved_model, tmp_path, rewards=rewards, max_steps=4))
    assert trainer.frozen_base.forwards == 2
    assert trainer.alphas[0] == 0.5  # V for the critic is that of the first EndoRM
    for name in (*NAMES, "endorm", "endorm_discounted"):
        values = history(trainer, f"rewards/{name}/mean")
        assert len(values) == 2
        assert all(math.isfinite(x) for x in values)
    assert all(x >= 0 for x in history(trainer, "rewards/self_certainty/mean"))


def test_without_a_base_the_error_names_the_fix():
    with pytest.raises(ValueError, match="This SelfCertainty has no frozen base: build it with from_pretrained"):
        get_reward("self_certainty")(None, tiny_tokenizer()).score(["a"], ["b"])
