"""Models of published shapes with random weights: for timing and planning, where only the shape matters."""

import json
import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, Qwen2Config

from train.tasks.rehearsal_model import make_rehearsal_model, project_texts

PRESETS = {  # hidden size, intermediate size, layers, heads, key-value heads; 0.5b, 1.5b and 7b are of Qwen2.5
    "tiny": (256, 1024, 2, 4, 2),
    "small": (512, 2048, 4, 8, 2),
    "smollm2-135m": (576, 1536, 30, 9, 3),
    "0.5b": (896, 4864, 24, 14, 2),
    "1.5b": (1536, 8960, 28, 12, 2),
    "7b": (3584, 18944, 28, 28, 4),
}


def preset_config(preset: str, vocab_size: int = 151936) -> Qwen2Config:
    """A Qwen2 of the shape `preset` with an untied head."""
    hidden, inner, layers, heads, kv_heads = PRESETS[preset]
    return Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
    )


def random_model(preset: str, vocab_size: int = 151936, dtype=torch.float32, device="cpu") -> PreTrainedModel:
    """A Qwen2 of the shape `preset` with an untied head, the same weights every time."""
    torch.manual_seed(0)
    with torch.device(device):  # drawn where it is used: 7B take minutes on a CPU
        return AutoModelForCausalLM.from_config(preset_config(preset, vocab_size), dtype=dtype).eval()


def write_inputs(folder: Path, preset: str, vocab_size: int, prompt_tokens: int, dtype: str, prompts: int) -> None:
    """A model, the rehearsal model's tokenizer and random prompts of the project's words, in a folder.

    Raises:
        ValueError: a vocabulary without room for all bytes and the special tokens.
    """
    make_rehearsal_model(list(project_texts()), folder, vocab_size=min(2048, vocab_size))  # no id beyond the model's
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random_model(preset, vocab_size, getattr(torch, dtype), device=device).save_pretrained(folder)
    tokenizer, rng = AutoTokenizer.from_pretrained(folder), random.Random(0)
    words = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
    texts = (tokenizer.decode(rng.choices(words, k=prompt_tokens)) for _ in range(prompts))
    rows = "".join(json.dumps({"prompt": text}) + "\n" for text in texts)
    (folder / "prompts.jsonl").write_text(rows, encoding="utf-8")
