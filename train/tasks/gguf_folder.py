"""A Hugging Face folder of a Llama model that is stored in a GGUF file: weights, tokenizer, template, configs.

transformers reads such files too. It takes several times as long, does not save again what it read as quantised, and
leaves out that SmolLM's tokenizer splits off every digit before it merges, so that spaces before a digit become other
tokens than those that the model was trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

if TYPE_CHECKING:
    from gguf import GGUFReader

NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
READ = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
CONTROL = 3  # GGUF's type of a token that no text is encoded to


def write_folder(gguf_file: Path, folder: Path) -> int:
    """Write the model of `gguf_file` into `folder`, which is made if absent, for `from_pretrained`.

    The weights are those that the quantised ones stand for, in fp32, with the query and key rows in the order that
    transformers wants: GGUF holds the two halves of a rotary pair side by side.

    Returns:
        How many weights were written; tied ones count once.

    Raises:
        ImportError: the package gguf is not installed.
        ValueError: the file holds another architecture or tokenizer than Llama's with SmolLM's, or an unknown tensor.
    """
    from gguf import GGUFReader

    reader = GGUFReader(gguf_file)
    for name, value in READ.items():
        if _field(reader, name) != value:
            raise ValueError(f"{gguf_file.name}: {name} is {_field(reader, name)!r}; only {value!r} is read here")
    weights = _weights(reader)
    folder.mkdir(parents=True, exist_ok=True)
    _config(reader, tied="lm_head.weight" not in weights).save_pretrained(folder)
    GenerationConfig(**_special_ids(reader)).save_pretrained(folder)
    _tokenizer(reader).save_pretrained(folder)
    # "pt" is what transformers asks of a file before it reads it
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return sum(w.size for w in weights.values())


def _field(reader: GGUFReader, name: str) -> Any:
    return reader.fields[name].contents() if name in reader.fields else None


def _weights(reader: GGUFReader) -> dict[str, np.ndarray]:
    """Name in transformers -> fp32 array, of all tensors."""
    from gguf import dequantize

    heads = {part: _field(reader, f"llama.attention.head_count{kv}") for part, kv in (("q", ""), ("k", "_kv"))}
    weights = {}
    for tensor in reader.tensors:
        stem, _, kind = tensor.name.rpartition(".")
        block, number, part = stem.split(".", 2) if stem.startswith("blk.") else ("", "", stem)
        name = LAYER_NAMES.get(part) if block else NAMES.get(part)
        if name is None or kind != "weight":
            raise ValueError(f"the tensor {tensor.name} is none of a Llama model without biases")
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        if block and part in ("attn_q", "attn_k"):
            values = _halves_apart(values, heads[part[-1]])
        # what comes from the mapped file is a view of it
        weights[f"model.layers.{number}.{name}.weight" if block else f"{name}.weight"] = np.ascontiguousarray(values)
    return weights


def _halves_apart(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows ``(heads * size, width)`` with, in each head, first those of even place and then those of odd place."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _special_ids(reader: GGUFReader) -> dict[str, Any]:
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {ours: int(_field(reader, f"tokenizer.ggml.{theirs}_token_id")) for ours, theirs in names.items()}


def _config(reader: GGUFReader, tied: bool) -> LlamaConfig:
    def number(name: str) -> Any:
        return _field(reader, f"llama.{name}")

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(_field(reader, "tokenizer.ggml.tokens")),
        hidden_size=number("embedding_length"),
        intermediate_size=number("feed_forward_length"),
        num_hidden_layers=number("block_count"),
        num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"),
        max_position_embeddings=number("context_length"),
        # GGUF keeps them in fp32, where 1e-5 becomes 9.999999747378752e-06
        rms_norm_eps=float(f"{number('attention.layer_norm_rms_epsilon'):.6g}"),
        rope_parameters={"rope_type": "default", "rope_theta": float(f"{number('rope.freq_base'):.6g}")},
        tie_word_embeddings=tied,
        dtype="float32",
        **_special_ids(reader),
    )


def _tokenizer(reader: GGUFReader) -> PreTrainedTokenizerFast:
    tokens = _field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(pair.split(" ")) for pair in _field(reader, "tokenizer.ggml.merges")]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    kinds = _field(reader, "tokenizer.ggml.token_type")
    core.add_special_tokens([AddedToken(t, special=True) for t, k in zip(tokens, kinds, strict=True) if k == CONTROL])
    ids = _special_ids(reader)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=tokens[ids["bos_token_id"]],
        eos_token=tokens[ids["eos_token_id"]],
        pad_token=tokens[ids["pad_token_id"]],
        unk_token=tokens[int(_field(reader, "tokenizer.ggml.unknown_token_id"))],
        chat_template=_field(reader, "tokenizer.chat_template"),
        model_max_length=_field(reader, "llama.context_length"),
        clean_up_tokenization_spaces=False,
    )
