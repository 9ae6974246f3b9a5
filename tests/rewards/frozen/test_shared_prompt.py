"""Sharing a prompt's forward gives what a plain loop gives, on every kind of memory that a model can have."""

import warnings

import pytest
import torch
from tiny_models import VOCAB_SIZE, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from rewards import FrozenBase

SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ATTENTION = {
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
LINEAR = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
WINDOW = {"sliding_window": 8}
MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
MODELS = {  # config, and whether responses share a forward over their prompt
    "mamba": ({"state_size": 4}, False),
    "mamba2": ({"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 2, "chunk_size": 8}, False),
    "rwkv": ({"attention_hidden_size": 32, "intermediate_size": 48, "context_length": 128}, False),
    "qwen3_next": (
        ATTENTION
        | LINEAR
        | EXPERTS
        | {"shared_expert_intermediate_size": 16, "layer_types": ["linear_attention", "full_attention"]},
        False,
    ),
    "falcon_h1": (
        ATTENTION
        | {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
        | {"mamba_chunk_size": 8},
        False,
    ),
    "lfm2": (ATTENTION | {"layer_types": ["conv", "full_attention"]}, False),
    "minimax": (
        ATTENTION
        | {"num_local_experts": 2, "num_experts_per_tok": 1, "block_size": 8}
        | {"layer_types": ["linear_attention", "full_attention"]},
        False,
    ),
    "openai-gpt": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}, False),  # takes no cache at all
    "mistral": (ATTENTION | WINDOW, True),
    "qwen2": (ATTENTION | WINDOW | {"use_sliding_window": True, "max_window_layers": 0}, True),
    "gemma2": (ATTENTION | WINDOW | {"final_logit_softcapping": 5.0}, True),
    "gemma3_text": (ATTENTION | WINDOW | MIXED, True),
    "gemma4_text": (
        ATTENTION
        | WINDOW
        | {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "layer_types": MIXED["layer_types"] * 2}
        | {"vocab_size_per_layer_input": VOCAB_SIZE, "hidden_size_per_layer_input": 8, "global_head_dim": 8},
        True,
    ),
    "gpt_oss": (ATTENTION | WINDOW | MIXED | {"num_local_experts": 2, "num_experts_per_tok": 1}, True),
    "bloom": ({"n_head": 4, "n_layer": 2}, True),
}
DRAW = torch.Generator().manual_seed(0)
PROMPT, *RESPONSES = (torch.randint(3, VOCAB_SIZE, (n,), generator=DRAW).tolist() for n in (40, 3, 12, 1, 7))


@pytest.mark.parametrize("architecture", MODELS)
def test_shared_or_apart_the_scores_are_those_of_a_loop(architecture):
    changes, shares = MODELS[architecture]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **(SIZES | changes))).eval()
    base, prompts = FrozenBase(model), [PROMPT] * len(RESPONSES)
    apart = base.score(prompts, RESPONSES)
    tokens = base.tokens
    shared = base.score(prompts, RESPONSES, share_prompts=True)
    assert base.tokens - tokens == tokens - shares * (len(RESPONSES) - 1) * (len(PROMPT) - 1)
    for response, one, other in zip(RESPONSES, apart, shared):
        with torch.no_grad():
            logits = model(torch.tensor([PROMPT + response]), use_cache=False).logits[0].double()
        states, at = logits[len(PROMPT) - 1 :], range(len(response))
        for scores in (one, other):
            kwargs = {"atol": 1e-4, "rtol": 0, "check_dtype": False}
            torch.testing.assert_close(scores.log_probs, states.log_softmax(-1)[at, response], **kwargs)
            torch.testing.assert_close(scores.q, states[at, response], **kwargs)
            torch.testing.assert_close(scores.v[1.0], states.logsumexp(-1), **kwargs)


@pytest.mark.parametrize("share_prompts", [False, True])
def test_the_library_is_called_as_it_wants_to_be(share_prompts):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        FrozenBase(tiny_model()).score([PROMPT] * 2, [[5, 6], [7]], share_prompts=share_prompts)
    deprecated = [w for w in seen if issubclass(w.category, FutureWarning | DeprecationWarning)]
    assert [str(w.message) for w in deprecated] == []
