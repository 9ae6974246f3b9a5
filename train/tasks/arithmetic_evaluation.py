"""Accuracy of a policy on held-out problems of the demo task, sampled and greedy."""

import json
from pathlib import Path
from typing import cast

import torch
from transformers import GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase

from rewards.reporting.intervals import wilson
from train.tasks.arithmetic import demo_accuracy

TEMPERATURES = {"sampled": 1.0, "greedy": 0.0, "low_temperature": 0.3}


def read_prompts(path: Path, n: int | None) -> list[str]:
    """The first ``n`` prompts of a JSONL file with rows ``{"prompt": ...}``; all if it has fewer, or for None."""
    with path.open(encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines][: None if n is None else max(n, 0)]
    if not prompts:
        raise SystemExit(f"no prompts to evaluate: --n is {n} and the file is {path}")
    return prompts


@torch.inference_mode()
def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    temperature: float,
    batch_size: int = 1000,
    max_new_tokens: int = 16,
) -> tuple[list[str], list[int]]:
    """Completions as text and their lengths in tokens, the end token included; ``temperature`` 0 decodes greedily."""
    decoding: dict[str, bool | float] = {"do_sample": False}
    if temperature > 0:
        # Sampling means the model's own distribution: no top-k or top-p cut, whatever the saved defaults are.
        decoding = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    texts, lengths = [], []
    for start in range(0, len(prompts), batch_size):
        batch = tokenizer(prompts[start : start + batch_size], return_tensors="pt", padding=True, padding_side="left")
        batch = batch.to(model.device)
        output = cast(GenerationMixin, model).generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **decoding,
        )[:, batch["input_ids"].shape[1] :]
        ended_before = (output == tokenizer.eos_token_id).cumsum(1).roll(1, dims=1)
        ended_before[:, 0] = 0
        lengths += (ended_before == 0).sum(1).tolist()
        texts += tokenizer.batch_decode(output, skip_special_tokens=True)
    return texts, lengths


def evaluate(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], decoding: str, seed: int
) -> dict:
    """One row of ``results.json``: accuracy in 0..1, its 95% Wilson interval and the mean length in tokens."""
    torch.manual_seed(seed)
    texts, lengths = complete(model, tokenizer, prompts, TEMPERATURES[decoding])
    correct, n = int(sum(demo_accuracy(prompts, texts))), len(prompts)
    return {
        "name": name,
        "decoding": decoding,
        "temperature": TEMPERATURES[decoding],
        "accuracy": correct / n,
        "ci95": list(wilson(correct, n)),
        "mean_tokens": sum(lengths) / n,
        "n": n,
    }
