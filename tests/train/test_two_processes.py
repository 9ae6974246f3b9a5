"""Two CPU processes under real `accelerate launch`: sound, LoRA without a second copy, resume to the same losses."""

import json
import signal

import psutil
import pytest
import torch
from launching import SMALL, assert_sound, finish, kill, launch, logged, start, wait_for
from safetensors.torch import load_file

from train.checkpoints import INTERRUPTED, newest_complete

pytestmark = pytest.mark.slow

LORA = {"use_peft": True, "lora_target_modules": "all-linear", "lora_r": 4, "learning_rate": 1e-3}
FIELDS = SMALL | {"bf16": False, "dtype": "float32", "frozen_dtype": "float32", "max_steps": 4, "save_steps": 1}
# where the weights end up, and the entries that a frozen base of its own holds
RUNS = {
    "ddp, lora": ("cpu_ddp", LORA, "adapter_model.safetensors"),
    "zero2, lora": ("cpu_zero2", LORA, "adapter_model.safetensors"),
    "zero3": ("cpu_zero3", {"learning_rate": 1e-4}, "model.safetensors"),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_resumed_run_repeats_the_one_that_went_through(run, rehearsal, problems, tmp_path):
    """Resumed after update 3, in the middle of the second rollout: data order, random state, optimizer, critic."""
    launcher, changes, weights = RUNS[run]
    config = ["--config_file", f"configs/accelerate/{launcher}.yaml"]
    fields = FIELDS | {"model_name_or_path": rehearsal, "dataset_name": problems} | changes
    recipe = "configs/math/ppo_qwen2.5_math_7b.yaml"
    launch("ppo_endorm", recipe, tmp_path / "whole", config, **fields)
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    launch("ppo_endorm", recipe, tmp_path / "resumed", config, resume_from_checkpoint=checkpoint, **fields)
    whole, resumed = ([row for row in logged(tmp_path / r) if "loss" in row] for r in ("whole", "resumed"))
    assert [row["step"] for row in resumed] == [1, 2, 3, 4]
    for key in ("loss", "grad_norm", "entropy", "learning_rate"):
        assert [r[key] for r in resumed] == pytest.approx([r[key] for r in whole], abs=1e-6)
    assert len({row["loss"] for row in whole}) == 4
    for file in (weights, "critic.safetensors"):
        a, b = (load_file(tmp_path / r / file) for r in ("whole", "resumed"))
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=0)
    parameters = json.loads((tmp_path / "whole" / "run.json").read_text())["parameters"]
    if "lora" in run:
        assert parameters["frozen_base"] == 0
        assert 0 < parameters["trained"] < parameters["policy"] / 2
        assert not (tmp_path / "whole" / "model.safetensors").exists()
    else:
        assert parameters["frozen_base"] == parameters["policy"] == parameters["trained"]
        assert abs(assert_sound(tmp_path / "whole", rehearsal, steps=4)["kl/k1"]) < 0.1


def test_sigterm_to_one_of_two_processes_saves_and_exits_with_0(rehearsal, problems, tmp_path):
    fields = FIELDS | {"model_name_or_path": rehearsal, "dataset_name": problems, "max_steps": 100_000}
    config = ["--config_file", "configs/accelerate/cpu_zero2.yaml"]
    recipe, run = "configs/math/ppo_qwen2.5_math_7b.yaml", tmp_path / "run"
    process = start(["train/ppo_endorm.py"], recipe, run, config, fresh=True, **fields)
    try:
        wait_for(lambda: newest_complete(run), process)
        workers = [p for p in psutil.Process(process.pid).children() if "ppo_endorm.py" in " ".join(p.cmdline())]
        assert len(workers) == 2
        workers[1].send_signal(signal.SIGTERM)
        finish(process)
    finally:
        kill(process)
    stopped = json.loads((run / INTERRUPTED).read_text())["step"]
    assert newest_complete(run) == str(run / f"checkpoint-{stopped}")


MIX = [
    {"name": "endorm", "discount": 0.9, "normalise": "running", "clip": 5},
    {"name": "endorm", "as": "by_line", "reduce": "mean", "steps": "line", "length_control": True},
    {"name": "accuracy", "weight": 0.5, "gate": "by_line", "anneal": [0.0, 1.0, 4]},
]


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_a_mix_of_rewards_from_the_command_line(algorithm, rehearsal, problems, tmp_path):
    config = ["--config_file", "configs/accelerate/cpu_ddp.yaml"]
    fields = FIELDS | {"model_name_or_path": rehearsal, "dataset_name": problems, "save_strategy": "no"}
    size = {} if algorithm == "ppo" else {"per_device_train_batch_size": 8}
    recipe = f"configs/math/{algorithm}_qwen2.5_math_7b.yaml"
    launch(f"{algorithm}_endorm", recipe, tmp_path, config, rewards=json.dumps(MIX), **fields | size)
    merged = assert_sound(tmp_path, rehearsal, steps=4)
    assert {"endorm/shaped_mean", "by_line/length_slope", "accuracy/weight"} <= {
        k.removeprefix("rewards/") for k in merged
    }
    assert merged["rewards/accuracy/weight"] == pytest.approx(0.25)  # the second rollout began at step 2
