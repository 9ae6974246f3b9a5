"""The frozen base: scores that no padding, batch or dtype changes, and rows that it refuses."""

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM, FrozenBase


def make(**settings):
    return EndoRM(FrozenBase(tiny_model()), tiny_tokenizer(), **settings)


PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14], [20], [30, 31]]


RESPONSES = [[8, 9, 2], [15, 2], [21, 22, 23, 24, 25, 2], [32, 33, 34, 35]]


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side, architecture):
    base = FrozenBase(tiny_model(architecture))  # GPT-2 has absolute positions, which padding on the left would shift
    width = 9
    prompt_ids, prompt_mask = torch.zeros(2, 4, width, dtype=torch.long)
    response_ids, response_mask = torch.zeros(2, 4, width, dtype=torch.long)
    for i, (p, r) in enumerate(zip(PROMPTS, RESPONSES)):
        where = slice(width - len(p), width) if side == "left" else slice(0, len(p))
        prompt_ids[i, where], prompt_mask[i, where] = torch.tensor(p), 1
        response_ids[i, : len(r)], response_mask[i, : len(r)] = torch.tensor(r), 1
    padded = base.score_padded(prompt_ids, prompt_mask, response_ids, response_mask, hidden=True)
    for a, b in zip(padded, base.score(PROMPTS, RESPONSES, hidden=True)):
        torch.testing.assert_close(a.q, b.q)
        torch.testing.assert_close(a.v[1.0], b.v[1.0])
        torch.testing.assert_close(a.hidden, b.hidden)


def test_bf16_weights_give_fp32_logits():
    model = tiny_model().to(torch.bfloat16)
    scores = FrozenBase(model).score(PROMPTS, RESPONSES)
    exact = model.float()  # the same weights; only the backbone's bf16 arithmetic differs
    for s, e in zip(scores, FrozenBase(exact).score(PROMPTS, RESPONSES)):
        assert s.q.dtype == torch.float32
        assert not torch.equal(s.q, s.q.bfloat16().float())
        torch.testing.assert_close(s.q, e.q, atol=0.5, rtol=0.05)


def test_under_autocast_the_backbone_is_bf16_and_the_logits_are_not():
    model = tiny_model(initializer_range=1.5)  # logits in the tens, where bf16 is off by more than the check allows
    scores = FrozenBase(model, autocast=lambda: torch.autocast("cpu", torch.bfloat16)).score(PROMPTS, RESPONSES)
    for s, e in zip(scores, FrozenBase(model).score(PROMPTS, RESPONSES)):
        assert e.v[1.0].max() > 10
        assert s.q.dtype == torch.float32
        assert not torch.equal(s.q, s.q.bfloat16().float())
        assert not torch.equal(s.q, e.q)


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gemma2", "gpt2"])
def test_responses_that_share_a_prompts_forward_score_the_same(architecture):
    base = FrozenBase(tiny_model(architecture), batch_tokens=64)
    prompts = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14] * 2, [15], [5, 6, 7]]
    rows = [(p, list(range(20, 20 + n))) for p in prompts for n in (3, 1, 9, 4)]
    rows = rows[::2] + rows[1::2]  # groups are not in order
    apart = base.score(*zip(*rows), alphas=(0.7, 1.0), temperature=0.5, hidden=True)
    tokens = base.tokens
    shared = base.score(*zip(*rows), alphas=(0.7, 1.0), temperature=0.5, hidden=True, share_prompts=True)
    assert tokens == sum(len(p) + len(r) for p, r in rows)
    spared = tokens - (base.tokens - tokens)
    if architecture == "gemma2":  # a window: one cached prompt, whose last token goes with each response
        assert spared == (4 - 1) * (len(prompts[0]) - 1)
    else:  # trees, which share the short prompts and what responses begin with too
        assert spared > (4 - 1) * len(prompts[0])
    for a, b in zip(apart, shared):
        for x, y in ((a.log_probs, b.log_probs), (a.q, b.q), (a.v[0.7], b.v[0.7]), (a.v[1.0], b.v[1.0])):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=0)
        torch.testing.assert_close(a.hidden, b.hidden, atol=1e-4, rtol=0)


def test_states_are_kept_in_the_dtype_that_is_asked_for_and_scores_are_as_before():
    base = FrozenBase(tiny_model())
    for whole, half in zip(
        base.score(PROMPTS, RESPONSES, hidden=True), base.score(PROMPTS, RESPONSES, hidden=torch.bfloat16)
    ):
        assert torch.equal(half.hidden, whole.hidden.bfloat16())
        assert torch.equal(half.q, whole.q)
        assert torch.equal(half.v[1.0], whole.v[1.0])


def test_beyond_the_models_positions():
    with pytest.raises(ValueError, match="Row 0 has 40 \\+ 31 tokens.*64 positions.*max_prompt_length"):
        make().score(["a" * 40], ["b" * 30])


def test_nan_logits_name_the_rows():
    model = tiny_model()
    base = FrozenBase(model)
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinite logits for rows \[1\]"):
        base.score([[5], [7]], [[6, 2], [6, 2]])


def test_rows_that_do_not_match():
    with pytest.raises(ValueError, match="2 prompts but 1 responses"):
        make().base.score([[5], [6]], [[7]])


def test_an_architecture_whose_logits_are_not_its_heads():
    model = tiny_model()
    plain = type(model).forward

    class Odd(type(model)):
        def forward(self, *args, **kwargs):
            output = plain(self, *args, **kwargs)
            output.logits = output.logits * 2
            return output

    model.__class__ = Odd
    with pytest.raises(ValueError, match="LogitRule"):
        FrozenBase(model).score([[5]], [[6]])


def test_ids_beyond_the_vocabulary():
    with pytest.raises(ValueError, match="Token id 97 is not among the frozen base's 97"):
        make().base.score([[5]], [[97]])
