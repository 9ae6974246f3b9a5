"""The real entry scripts through `accelerate launch`, with the recipes that users start from, on a rehearsal model."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from launching import SMALL, assert_sound, launch, logged
from safetensors.torch import load_file
from tiny_models import PROMISED, SHARED

pytestmark = pytest.mark.slow


def test_ppo_7b_recipe_on_real_maths(rehearsal, problems, tmp_path):
    real = SHARED / "data" / "math_train.jsonl.gz"
    data = str(real) if real.exists() else problems
    recipe = "configs/math/ppo_qwen2.5_math_7b.yaml"
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": data, "dataset_split": "train[:60]"}
    launch("ppo_endorm", recipe, tmp_path, fresh=True, **fields)
    merged = assert_sound(tmp_path, rehearsal)
    assert [name for name in PROMISED.split() if name not in merged] == []
    assert abs(merged["kl/k1"]) < 0.01  # three steps at 1e-6
    base, policy = (load_file(Path(f) / "model.safetensors") for f in (rehearsal, tmp_path))
    assert any(not torch.equal(base[name], policy[name].to(base[name].dtype)) for name in base)
    assert (tmp_path / "critic.safetensors").exists()


def test_grpo_7b_recipe(rehearsal, problems, tmp_path):
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": problems, "per_device_train_batch_size": 8}
    launch("grpo_endorm", "configs/math/grpo_qwen2.5_math_7b.yaml", tmp_path, **fields)
    merged = assert_sound(tmp_path, rehearsal)
    assert {"kl", "kl/k1", "kl/k3", "completions/eos_rate", "rewards/endorm/mean"} <= set(merged)


def test_lora_recipe_saves_the_adapter_alone(rehearsal, problems, tmp_path):
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": problems}
    launch("ppo_endorm", "configs/math/ppo_qwen2.5_math_1.5b_lora.yaml", tmp_path, **fields)
    merged = {k: v for row in logged(tmp_path) for k, v in row.items()}
    assert all(math.isfinite(v) for v in merged.values())
    assert (tmp_path / "adapter_model.safetensors").exists()
    assert not (tmp_path / "model.safetensors").exists()


def test_the_recipe_of_the_small_chat_model_on_gsm8k(rehearsal, tmp_path):
    rows = [{"question": f"What is {i} + {i}?", "answer": f"It is {i} and {i}.\n#### {2 * i}"} for i in range(40)]
    data = tmp_path / "gsm8k.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": data, "heldout_name": data, "eval_steps": 2}
    fields |= {"bf16": False, "max_heldout_samples": 4, "num_iterations": 1, "logging_steps": 1}
    launch("ppo_endorm", "configs/math/ppo_smollm2_135m_gsm8k.yaml", tmp_path / "run", **fields)
    merged = assert_sound(tmp_path / "run", rehearsal)
    assert [name for name in PROMISED.split() if name not in merged] == []
    assert merged["eval_rewards/accuracy/mean"] == 0


def test_prompts_and_responses_beyond_the_models_positions(rehearsal, problems, tmp_path):
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": problems, "max_completion_length": 4090}
    done = launch("ppo_endorm", "configs/math/ppo_qwen2.5_math_7b.yaml", tmp_path, check=False, **fields)
    assert done.returncode != 0
    assert "but the model has 4096 positions: lower max_prompt_length or max_completion_length" in done.stderr


HELD_OUT = {"eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "rewards/accuracy/mean"}


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_held_out_accuracy_in_training_with_two_processes(algorithm, rehearsal, problems, tmp_path):
    """Accuracy is no reward of the recipe: it is watched, and moves nothing."""
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": problems, "max_steps": 2, "save_strategy": "no"}
    heldout = shutil.copy(problems, tmp_path / "held_out.jsonl")
    fields |= {"bf16": False, "dtype": "float32", "frozen_dtype": "float32", "heldout_name": heldout}
    fields |= {"max_heldout_samples": 6, "per_device_eval_batch_size": 2, "watch": "stop"}
    recipe = f"configs/math/{algorithm}_qwen2.5_math_7b.yaml"
    launcher = ["--config_file", "configs/accelerate/cpu_ddp.yaml"]
    launch(f"{algorithm}_endorm", recipe, tmp_path / "run", launcher, fresh=algorithm == "grpo", **fields | HELD_OUT)
    rows = logged(tmp_path / "run")
    (evaluation,) = (row for row in rows if "eval_rewards/accuracy/mean" in row)
    assert evaluation["step"] == 2
    assert evaluation["eval_reward"] == pytest.approx(evaluation["eval_rewards/endorm/mean"], rel=1e-5)
    assert all(math.isfinite(x) for x in evaluation.values())
