"""The real entry scripts through `accelerate launch`, with the recipes that users start from, on a rehearsal model."""

import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from launching import SMALL, assert_sound, launch, logged
from safetensors.torch import load_file
from tiny_models import PROMISED, ROOT, SHARED


def test_ppo_7b_recipe_on_real_maths(rehearsal, problems, tmp_path):
    real = SHARED / "data" / "math_train.jsonl.gz"
    data = str(real) if real.exists() else problems
    recipe = "configs/math/ppo_qwen2.5_math_7b.yaml"
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": data, "dataset_split": "train[:60]"}
    launch("ppo_endorm", recipe, tmp_path, **fields)
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


# ---------------------------------------------------------------- recipes and bad input, in this process


def parse(monkeypatch, *argv):
    from trl import ModelConfig

    from train.ppo_trainer import PPOConfig
    from train.prompts import DataArguments
    from train.recipe import RecipeArguments, parse_recipe
    from train.recipe_rewards import RewardArguments
    from train.watches import WatchArguments

    monkeypatch.setattr(sys, "argv", ["ppo_endorm.py", *argv, "--use_cpu", "true"])
    return parse_recipe(PPOConfig, ModelConfig, DataArguments, RewardArguments, WatchArguments, RecipeArguments)[:-1]


def test_a_field_that_does_not_exist_names_its_neighbours(monkeypatch, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("kl_coeff: 0.1\nmax_promt_length: 9\n")
    with pytest.raises(SystemExit):
        parse(monkeypatch, "--config", str(recipe))
    message = capsys.readouterr().err
    assert re.search(r"kl_coeff \(did you mean kl_coef", message)
    assert re.search(r"max_promt_length \(did you mean max_prompt_length", message)
    with pytest.raises(SystemExit):
        parse(monkeypatch, "--whiten_flor", "0.1")
    assert "whiten_floor" in capsys.readouterr().err


def test_a_recipe_that_is_not_there(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        parse(monkeypatch, "--config", "configs/none.yaml")
    assert "configs/none.yaml does not exist" in capsys.readouterr().err


def test_the_command_line_wins_over_the_recipe(monkeypatch, tmp_path):
    recipe = "configs/math/ppo_qwen2.5_math_7b.yaml"
    line = ["--config", str(ROOT / recipe), "--kl_coef", "0.5", "--bf16", "no"]
    args, model, data, reward, watch = parse(monkeypatch, *line)
    assert (args.kl_coef, args.max_completion_length, data.max_prompt_length) == (0.5, 1024, 1024)
    assert data.system_prompt.endswith(r"\boxed{}.")
    assert ([entry["name"] for entry in reward.rewards], watch.watch) == (["endorm"], "warn")
    assert model.model_name_or_path == "Qwen/Qwen2.5-Math-7B"


@pytest.mark.parametrize(
    "path", [path for folder in ("demo", "math") for path in sorted((ROOT / "configs" / folder).glob("*.yaml"))]
)
def test_recipes_open_with_their_command_and_promise_no_phoning_home(path):
    text = path.read_text()
    assert f"--config {path.relative_to(ROOT)}" in text
    assert yaml.safe_load(text)["report_to"] == "none"


def test_unknown_reward_and_end_token(rehearsal):
    from trl import ModelConfig

    from train.recipe_rewards import RewardArguments, build_rewards
    from train.run import load_tokenizer

    with pytest.raises(ValueError, match="Unknown reward 'endrom'"):
        build_rewards(RewardArguments(reward_funcs=["endrom"]))
    with pytest.raises(ValueError, match="No model"):
        load_tokenizer(ModelConfig())
    with pytest.raises(ValueError, match="not in the vocabulary"):
        load_tokenizer(ModelConfig(model_name_or_path=rehearsal), "<|no_such_token|>")
    assert load_tokenizer(ModelConfig(model_name_or_path=rehearsal), "<|im_end|>").eos_token == "<|im_end|>"


def test_a_judge_in_a_recipe_needs_its_model(saved_judge):
    from train.recipe_rewards import RewardArguments, build_rewards

    with pytest.raises(ValueError, match="trained_reward cannot be made without a model"):
        build_rewards(RewardArguments(reward_funcs=["trained_reward"]))
    judge = {"name": "generative_verifier", "model": saved_judge, "form": "prob", "device": "cpu"}
    entries = json.dumps([{"name": "endorm", "discount": 0.9}, judge])
    endorm, judge = (reward.func for reward in build_rewards(RewardArguments(rewards=entries)))
    assert (endorm.discount, judge.form) == (0.9, "prob")
    assert 0 < judge(prompts=["a"], completions=["b"])[0] < 1


def test_resume_from_latest(tmp_path):
    from train.checkpoints import mark_complete
    from train.ppo_trainer import PPOConfig
    from train.run import checkpoint_to_resume

    def config(wanted):
        settings = {"report_to": "none", "use_cpu": True, "bf16": False}
        return PPOConfig(output_dir=str(tmp_path / "run"), resume_from_checkpoint=wanted, **settings)

    assert checkpoint_to_resume(config(None)) is None
    assert checkpoint_to_resume(config("latest")) is None
    for step in (2, 10, 12):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if step != 12:  # killed while it was written
            mark_complete(folder, step=step)
    assert checkpoint_to_resume(config("latest")).endswith("checkpoint-10")
    assert checkpoint_to_resume(config(str(folder))) == str(folder)  # whether it will do is for the trainer to say


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
    launch(f"{algorithm}_endorm", recipe, tmp_path / "run", launcher, **fields | HELD_OUT)
    rows = logged(tmp_path / "run")
    (evaluation,) = (row for row in rows if "eval_rewards/accuracy/mean" in row)
    assert evaluation["step"] == 2
    assert evaluation["eval_reward"] == pytest.approx(evaluation["eval_rewards/endorm/mean"], rel=1e-5)
    assert all(math.isfinite(x) for x in evaluation.values())
