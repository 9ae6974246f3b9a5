"""The log-ratio of two models against a loop over plain transformers."""

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from rewards import FrozenBase, ImplicitReward

CHAT = [{"role": "user", "content": "Hi"}]
PROMPTS, RESPONSES = ["ab", CHAT, "c"], ["d", [{"role": "assistant", "content": "efghij"}], "klm"]
CHAT_TEXT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
TEXTS = [("ab", "d<eos>"), (CHAT_TEXT, "efghij<|im_end|>"), ("c", "klm<eos>")]  # a chat ends as its template ends it


def naive(policy, reference, tokenizer, beta):
    """Token by token in double precision, one sequence at a time."""
    rows = []
    for prompt, response in TEXTS:
        before, after = tokenizer(prompt)["input_ids"], tokenizer(response)["input_ids"]
        row = []
        for h, token in enumerate(after):
            ids = torch.tensor([before + after[:h]])
            with torch.no_grad():
                p, q = (m.double()(ids).logits[0, -1].log_softmax(-1)[token] for m in (policy, reference))
            row.append(beta * float(p - q))
        rows.append(row)
    policy.float(), reference.float()
    return rows


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2"])
def test_equals_a_naive_computation(architecture):
    policy, reference, tokenizer = tiny_model(architecture, 1), tiny_model(architecture, 0), tiny_tokenizer()
    truth = naive(policy, reference, tokenizer, 0.3)
    for batch_tokens in (1, 16384):
        bases = (FrozenBase(m, batch_tokens=batch_tokens) for m in (policy, reference))
        reward = ImplicitReward(*bases, tokenizer, beta=0.3)
        assert reward.score(PROMPTS, RESPONSES) == pytest.approx([sum(row) for row in truth], abs=1e-4)
        for ours, row in zip(reward.token_rewards(PROMPTS, RESPONSES), truth):
            assert ours.dtype == torch.float32
            assert ours.tolist() == pytest.approx(row, abs=1e-4)
        assert reward.policy.forwards == reward.reference.forwards == 2 * (3 if batch_tokens == 1 else 1)


def test_two_equal_models_give_exactly_zero():
    reward = ImplicitReward(FrozenBase(tiny_model()), FrozenBase(tiny_model()), tiny_tokenizer())
    assert reward.score(PROMPTS, RESPONSES) == [0.0] * 3
    assert reward.score([], []) == []


def test_the_trainers_ids_are_scored_as_they_are():
    tokenizer = tiny_tokenizer()
    reward = ImplicitReward(FrozenBase(tiny_model(seed=1)), FrozenBase(tiny_model()), tokenizer)
    ids = [[*tokenizer("xy")["input_ids"], 2], tokenizer("zw")["input_ids"]]  # the second was cut off
    rewards = reward(prompts=["ab", "cd"], completions=["xy", "zw"], completion_ids=ids, other_column=[1, 2])
    assert rewards[0] == pytest.approx(reward.score(["ab"], ["xy"])[0], abs=1e-5)
    whole = reward.token_rewards(["cd"], ["zw"])[0]
    assert rewards[1] == pytest.approx(float(whole[:2].sum()), abs=1e-5)
    rows = reward.per_token(["ab", "cd"], ["xy", "zw"], ids)
    assert [len(r) for r in rows] == [3, 2]
    assert [float(r.sum()) for r in rows] == pytest.approx(rewards, abs=1e-6)
    with pytest.raises(ValueError, match="policy's tokenizer"):
        reward(prompts=["ab"], completions=["xy"], completion_ids=[tiny_tokenizer(shift=11)("xy")["input_ids"]])


def test_from_pretrained_needs_one_tokenizer(saved_model, tmp_path):
    tiny_model(seed=1).save_pretrained(tmp_path)
    tiny_tokenizer(shift=11).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="different tokenizers"):
        ImplicitReward.from_pretrained(str(tmp_path), reference=saved_model)
    tiny_tokenizer().save_pretrained(tmp_path)
    reward = ImplicitReward.from_pretrained(str(tmp_path), reference=saved_model, device="cpu", beta=0.5)
    swapped = ImplicitReward.from_pretrained(saved_model, reference=str(tmp_path), device="cpu", beta=0.5)
    assert reward.score(PROMPTS, RESPONSES) == pytest.approx([-r for r in swapped.score(PROMPTS, RESPONSES)])
    with pytest.raises(ValueError, match="beta must be positive"):
        ImplicitReward(reward.policy, reward.reference, reward.tokenizer, beta=0)
