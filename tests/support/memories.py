"""Architectures by what they remember of the tokens before: keys and values, a window of them, or a recurrence."""

from tiny_models import VOCAB_SIZE

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
