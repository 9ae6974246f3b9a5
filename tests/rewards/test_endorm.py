"""EndoRM against float64 from full logits, and against itself under padding, batching and telescoping."""

import math

import pytest
import torch
from tiny_models import VOCAB_SIZE, tiny_model, tiny_tokenizer

from rewards import EndoRM, FrozenBase
from rewards.endorm import endogenous_rewards, position_weights
from scripts import published_loop

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14], [20], [30, 31]]


RESPONSES = [[8, 9, 2], [15, 2], [21, 22, 23, 24, 25, 2], [32, 33, 34, 35]]


def float64_rewards(model, prompt, response, alpha, terminal, form, complete=True):
    """One sequence, no padding, everything from the full logits in double precision, one token after another."""
    model = model.double()
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0]
    model.float()
    rewards = []
    for h, token in enumerate(response):
        here, there = logits[len(prompt) - 1 + h], logits[len(prompt) + h]
        if form == "logprob":
            rewards.append(alpha * torch.log_softmax(here / alpha, -1)[token])
            continue
        v_next = alpha * torch.logsumexp(there / alpha, -1)
        if h == len(response) - 1 and complete and terminal != "bootstrap":
            v_next = torch.tensor(alpha * math.log(VOCAB_SIZE) if terminal == "uniform" else 0.0)
        rewards.append(here[token] - v_next)
    return torch.stack(rewards)


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt2", "gemma2", "granite", "cohere"])
@pytest.mark.parametrize("alpha", [0.7, 1.0])
def test_token_rewards_equal_float64_from_full_logits(architecture, alpha):
    model = tiny_model(architecture)
    base = FrozenBase(model, block=(5, 31))
    scores = base.score(PROMPTS, RESPONSES, alphas=(alpha, 1.0), temperature=0.9)
    for prompt, response, s in zip(PROMPTS, RESPONSES, scores):
        for terminal in ("uniform", "zero", "bootstrap"):
            for form in ("reward", "logprob"):
                for complete in (True, False):
                    ours = endogenous_rewards(s, alpha, form, terminal, complete)
                    truth = float64_rewards(model, prompt, response, alpha, terminal, form, complete)
                    torch.testing.assert_close(ours.double(), truth, atol=1e-4, rtol=0)
        with torch.no_grad():
            logits = model.double()(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            model.float()
        truth = torch.log_softmax(logits / 0.9, -1).gather(1, torch.tensor(response)[:, None])[:, 0]
        torch.testing.assert_close(s.log_probs.double(), truth, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("alpha,terminal", [(0.7, "uniform"), (1.0, "zero"), (1.0, "bootstrap")])
def test_score_with_discount_and_floor_equals_float64_in_batches_of_1_and_16(architecture, alpha, terminal):
    model, tokenizer = tiny_model(architecture), tiny_tokenizer()
    prompts = [f"{'abcdefgh'[: 1 + i % 5]}" for i in range(16)]
    responses = ["xyz" * (1 + i % 4) for i in range(16)]
    settings = {"alpha": alpha, "discount": 0.95, "floor": 0.1, "terminal": terminal}
    truth = []
    for p, r in zip(prompts, responses):
        rewards = float64_rewards(
            model, tokenizer(p)["input_ids"], [*tokenizer(r)["input_ids"], 2], alpha, terminal, "reward"
        )
        truth.append(sum(max(0.95**h, 0.1) * float(x) for h, x in enumerate(rewards)))
    for batch_tokens in (1, 16384):
        rm = EndoRM(FrozenBase(model, batch_tokens=batch_tokens), tokenizer, **settings)
        assert rm.score(prompts, responses) == pytest.approx(truth, abs=1e-4 * 13)
        assert rm.base.forwards == (16 if batch_tokens == 1 else 1)


def test_sum_without_discount_telescopes():
    model, alpha = tiny_model(), 0.7
    for s, response in zip(FrozenBase(model).score(PROMPTS, RESPONSES, (alpha,), temperature=alpha), RESPONSES):
        total = endogenous_rewards(s, alpha).sum()
        expected = alpha * s.log_probs.sum() + s.v[alpha][0] - alpha * math.log(VOCAB_SIZE)
        assert float(total) == pytest.approx(float(expected), abs=1e-4)
        cut_off = endogenous_rewards(s, alpha, complete=False).sum()
        expected = alpha * s.log_probs.sum() + s.v[alpha][0] - s.v[alpha][-1]
        assert float(cut_off) == pytest.approx(float(expected), abs=1e-4)
        assert len(s.q) == len(response)


def test_equals_a_plain_loop_written_by_others():
    seed_reward, tokenizer = published_loop(), tiny_tokenizer()
    for architecture in ("qwen2", "llama", "gpt2", "gemma2"):
        model = tiny_model(architecture)
        rm = EndoRM(FrozenBase(model), tokenizer, discount=0.95, append_eos=False)
        prompts, responses = ["What is 2+2?", "Hi"], ["It is 4, I think.", "Hello"]
        expected = [seed_reward(model, tokenizer, p, r) for p, r in zip(prompts, responses)]
        assert rm.score(prompts, responses) == pytest.approx(expected, abs=1e-3)


def test_weights_and_mean():
    assert position_weights(4, 0.5, 0.2).tolist() == [1.0, 0.5, 0.25, pytest.approx(0.2)]
    assert position_weights(3, 0.0, 0.0).tolist() == [1.0, 0.0, 0.0]
    model, tokenizer = tiny_model(), tiny_tokenizer()
    total = EndoRM(FrozenBase(model), tokenizer).score(["ab"], ["cde"])
    mean = EndoRM(FrozenBase(model), tokenizer, reduce="mean").score(["ab"], ["cde"])
    assert total[0] == pytest.approx(4 * mean[0])  # three characters and the end token


def test_reward_function_scores_ids_as_they_are_and_shares_scores():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    rm = EndoRM(FrozenBase(model), tokenizer)
    texts, ids = ["xy", "zw"], [[*tokenizer("xy")["input_ids"], 2], tokenizer("zw")["input_ids"]]
    rewards = rm(prompts=["ab", "cd"], completions=texts, completion_ids=ids, other_column=[1, 2])
    assert rewards[0] == pytest.approx(rm.score(["ab"], ["xy"])[0], abs=1e-5)
    # the second was cut off: V of its last state is the base's own, not log|vocab|
    (s,) = rm.base.score([tokenizer("cd")["input_ids"]], [ids[1]])
    assert rewards[1] == pytest.approx(float(endogenous_rewards(s, complete=False).sum()), abs=1e-5)
    before = rm.base.forwards
    scores = rm.base.score([tokenizer("ab")["input_ids"], tokenizer("cd")["input_ids"]], ids)
    shared = rm(prompts=["ab", "cd"], completions=texts, completion_ids=ids, frozen_scores=scores)
    assert shared == pytest.approx(rewards, abs=1e-5)
    assert rm.base.forwards == before + 1
    for row, total in zip(rm.per_token(["ab", "cd"], texts, ids, frozen_scores=scores), rewards):
        assert float(row.sum()) == pytest.approx(total, abs=1e-4)


def test_chat_messages_and_system_prompt():
    rm = EndoRM(FrozenBase(tiny_model()), tiny_tokenizer())
    chat = [{"role": "user", "content": "Hi"}]
    rendered = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    answer = [{"role": "assistant", "content": "Yo"}]
    ids = rm.tokenizer(rendered)["input_ids"], rm.tokenizer("Yo<|im_end|>")["input_ids"]  # as the template ends it
    (expected,) = rm.base.score([ids[0]], [ids[1]], rm.alphas)
    assert rm.score([chat], [answer]) == pytest.approx([float(rm.values(expected, True).sum())])
    by_peers = EndoRM(rm.base, rm.tokenizer, end_token="eos")
    assert by_peers.score([chat], [answer]) == pytest.approx(rm.score([rendered], ["Yo"]))
    steered = EndoRM(rm.base, rm.tokenizer, system_prompt="Be kind.")
    explicit = [{"role": "system", "content": "Be kind."}, *chat]
    assert steered.score([chat], ["Yo"]) == pytest.approx(rm.score([explicit], ["Yo"]))
    assert steered.score([chat], ["Yo"]) != pytest.approx(rm.score([chat], ["Yo"]))


def test_without_a_base_or_tokenizer():
    with pytest.raises(ValueError, match="from_pretrained"):
        EndoRM().score(["a"], ["b"])


@pytest.mark.parametrize(
    "settings", [{"alpha": 0}, {"discount": 1.5}, {"floor": -1}, {"form": "q"}, {"reduce": "max"}, {"terminal": "?"}]
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        EndoRM(**settings)
