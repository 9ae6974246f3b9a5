"""How a rollout is spread over processes and batches, and in which order its rows stand, changes no weight."""

import json
from pathlib import Path

import pytest
import split_worker
import torch
from launching import torchrun
from safetensors.torch import load_file
from tiny_models import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM

# all of them: six rollouts of eight responses, each one update
SPLITS = {
    "two processes": (
        2,
        {"per_device_train_batch_size": 4, "steps_per_generation": 1, "per_device_eval_batch_size": 2},
    ),
    "two processes, two batches each": (
        2,
        {"per_device_train_batch_size": 2, "steps_per_generation": 2, "gradient_accumulation_steps": 2},
    ),
    "four batches": (
        1,
        {"per_device_train_batch_size": 2, "steps_per_generation": 4, "gradient_accumulation_steps": 4},
    ),
    "another order": (1, {"per_device_train_batch_size": 8, "steps_per_generation": 1, "order": "another"}),
    "another order on two processes": (
        2,
        {"per_device_train_batch_size": 4, "steps_per_generation": 1, "order": "another"},
    ),
    "four batches, each a tree": (
        1,
        {"per_device_train_batch_size": 2, "steps_per_generation": 4, "gradient_accumulation_steps": 4}
        | {"share_prefixes": True},
    ),
}
ROUNDING = 1e-6


def weights(folder: str, output: Path, processes: int, settings: dict) -> dict[str, torch.Tensor]:
    settings = {"share_prefixes": False} | settings  # a batch of other rows is another tree, and rounds otherwise
    if processes > 1:
        torchrun("split_worker.py", folder, output, json.dumps(settings), processes=processes)
    else:
        split_worker.main(folder, str(output), json.dumps(settings))
    return load_file(output / "weights.safetensors")


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    """Without the biases of Qwen2's keys, whose true gradient is 0: Adam makes steps of any size out of its rounding,
    in every trainer."""
    folder = tmp_path_factory.mktemp("tiny_llama")
    tiny_model("llama", initializer_range=0.2).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def whole(llama, tmp_path_factory):
    settings = {"per_device_train_batch_size": 8, "steps_per_generation": 1}
    return weights(llama, tmp_path_factory.mktemp("whole"), 1, settings)


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_weights_of_policy_and_critic_after_six_rollouts(split, llama, whole, tmp_path):
    found = weights(llama, tmp_path, *SPLITS[split])
    start = {f"policy.{n}": p for n, p in tiny_named(llama)}
    moved = max(float((p.detach() - whole[n]).abs().max()) for n, p in start.items())
    assert moved > 1e-3
    assert whole.keys() == found.keys()
    heldout = json.loads((tmp_path / "heldout.json").read_text())  # 5 prompts, of which one gets the reward
    assert heldout["eval_rewards/first_alone/mean"] == pytest.approx(0.2)
    assert heldout["eval_rewards/first_alone/std"] == pytest.approx(0.2**0.5)
    tolerance = 10 * ROUNDING if "tree" in split else ROUNDING
    for name, p in whole.items():
        torch.testing.assert_close(
            found[name], p, atol=tolerance, rtol=ROUNDING, msg=lambda m, name=name: f"{name}: {m}"
        )


def tiny_named(folder):
    return AutoModelForCausalLM.from_pretrained(folder).named_parameters()
