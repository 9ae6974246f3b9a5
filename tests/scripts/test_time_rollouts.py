"""The timer of rollouts runs a recipe end to end, its phases add up, and its counts are those of the algorithm."""

import json

import pytest
from tiny_models import ROOT

from scripts import load_script

SETTINGS = {
    "preset": "tiny",
    "vocab_size": 2048,
    "prompt_tokens": 16,
    "max_completion_length": 6,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "steps_per_generation": 2,
    "num_iterations": 2,
    "bf16": False,
    "frozen_dtype": "float32",
    "rollouts": 1,
}

pytestmark = pytest.mark.slow  # each trains


def run(monkeypatch, tmp_path, algorithm, *flags) -> dict:
    script = load_script("time_rollouts")
    fields = {"config": ROOT / f"configs/math/{algorithm}_qwen2.5_math_7b.yaml", "output": tmp_path / "step.json"}
    arguments = [str(x) for name, value in (SETTINGS | fields).items() for x in (f"--{name}", value)]
    arguments += ["--use_cpu", "--disable_tqdm", "true", *flags]
    monkeypatch.setattr("sys.argv", ["time_rollouts.py", *arguments])
    script.main()
    return json.loads((tmp_path / "step.json").read_text())


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_the_phases_of_a_rollout_add_up(algorithm, tmp_path, monkeypatch):
    result = run(monkeypatch, tmp_path, algorithm)
    seconds = result["seconds"]
    phases = ["generation", "frozen forward", "policy log-probs"] + ["critic"] * (algorithm == "ppo")
    assert all(seconds[phase] > 0 for phase in phases)
    assert sum(seconds[phase] for phase in phases) < seconds["whole rollout"] < seconds["whole"]
    assert result["rollout_seconds"] == [pytest.approx(seconds["whole"], rel=1e-3)]
    assert result["samples_per_second"] == pytest.approx(16 / seconds["whole"], rel=1e-2)
    assert (result["responses a rollout"], result["updates a rollout"]) == (16, 4)
    assert 16 < result["mean prompt and response tokens"] < 64
    # the policy once for the rollout's log-probs and once an epoch, the frozen base once
    assert result["passes"] == {"policy": 3, "frozen base": 1}


def test_what_is_held_is_counted(tmp_path, monkeypatch):
    full = run(monkeypatch, tmp_path, "ppo")["model_bytes"]
    lora = run(monkeypatch, tmp_path, "ppo", "--use_peft", "--lora_r", "4")
    assert lora["passes"] == {"policy": 3, "policy, adapter off": 1}
    assert full["gradients"] > 0.4 * full["weights"]  # the policy's, of a policy and a frozen base
    assert full["optimizer"] == pytest.approx(2 * full["gradients"], rel=0.01)  # two moments
    assert full["all"] == full["weights"] + full["gradients"] + full["optimizer"]
    assert lora["model_bytes"]["weights"] < 0.55 * full["weights"]
    assert lora["model_bytes"]["gradients"] < 0.2 * full["gradients"]


def test_the_plain_trainer_pays_for_a_reference_and_a_reward_model(tmp_path, monkeypatch):
    result = run(monkeypatch, tmp_path, "grpo", "--plain_trl")
    assert result["passes"] == {"policy": 3, "reference": 1, "reward": 1}
    assert result["seconds"]["reward model"] > 0
