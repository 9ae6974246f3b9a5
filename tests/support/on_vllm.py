"""Trainings whose rollouts a real vLLM makes, and what is compared of them.

As a script it trains with vLLM in its own process, which can hold one engine only: on_vllm.py SPEC.json RESULT.json
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from helpers import grpo, history, ppo
from peft import LoraConfig
from transformers import AutoTokenizer

ALGORITHMS = {"ppo": ppo, "grpo": grpo}
KEYS = ("reward", "kl/k1", "grad_norm", "sampling/sampling_logp_difference/max", "completions/eos_rate")
# Weights that move: ten updates end above 0.01 nats a token from the base
MOVES = {"max_steps": 10, "learning_rate": 3e-3, "max_completion_length": 12, "steps_per_generation": 1}


def missing() -> str:
    """Why these tests cannot run here; empty where they can."""
    return "" if find_spec("vllm") else "vLLM is not installed: bash scripts/test.sh --vllm"


def train(algorithm: str, model: str, folder, dtype: str = "float32", lora: bool = False, **settings) -> dict:
    """What a short training logs, and whether the frozen base moved.

    Args:
        algorithm: "ppo" or "grpo".
        model: folder; heads of at least 32 entries, which vLLM's attention on CPUs needs.
        dtype: of weights and log-probs.
        lora: train an adapter, under which the weights are the frozen base.
        settings: fields of the recipe.
    """
    precision = {"bf16": dtype == "bfloat16", "model_init_kwargs": {"dtype": dtype}}
    kwargs: dict = {"processing_class": AutoTokenizer.from_pretrained(model)}
    if lora:
        kwargs["peft_config"] = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = ALGORITHMS[algorithm](model, folder, trainer_kwargs=kwargs, **(MOVES | precision | settings))
    # a copy of the policy, or with an adapter the very weights that the policy has
    frozen = trainer.frozen_base.model
    base = {n: p.detach().clone() for n, p in frozen.named_parameters() if "lora_" not in n}
    trainer.train()
    after = dict(frozen.named_parameters())
    result: dict = {key: history(trainer, key) for key in KEYS}
    result["base_moved"] = [n for n, p in base.items() if not torch.equal(p, after[n])]
    return result


if __name__ == "__main__":
    spec, result = map(Path, sys.argv[1:])
    result.write_text(json.dumps(train(**json.loads(spec.read_text()))))
