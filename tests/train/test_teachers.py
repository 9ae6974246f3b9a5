"""Teachers and reward prompts through the entry scripts with two processes, by the recipes for distillation and
steering."""

import json
import math

import pytest
import yaml
from launching import SMALL, launch, logged
from tiny_models import ROOT

from rewards import EndoRM
from train.recipe_rewards import RewardArguments, build_rewards, rewards_of_recipe

DDP = ["--config_file", "configs/accelerate/cpu_ddp.yaml"]
FIELDS = SMALL | {"bf16": False, "dtype": "float32", "max_steps": 1, "save_strategy": "no", "logging_steps": 1}


def first_step(folder) -> dict:
    return {k: v for row in logged(folder) for k, v in row.items()}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm, launcher", [("ppo", "cpu_ddp"), ("grpo", "cpu_ddp"), ("ppo", "cpu_zero3")])
def test_teachers_with_the_policys_tokenizer_and_with_another(
    algorithm, launcher, rehearsal, saved_judge, problems, tmp_path
):
    """A teacher that is the policy's own base must give what its base gives; one of another family says that it reads
    re-tokenised text."""
    rewards = [
        {"name": "endorm"},
        {"name": "endorm", "as": "twin", "model": rehearsal, "dtype": "float32", "device": "cpu"},
        {"name": "endorm", "as": "stranger", "model": saved_judge, "dtype": "float32", "device": "cpu"},
    ]
    fields = FIELDS | {"model_name_or_path": rehearsal, "dataset_name": problems, "rewards": json.dumps(rewards)}
    recipe = f"configs/math/distill_{algorithm}_qwen2.5_math_1.5b_lora.yaml"
    fields["use_peft"] = launcher == "cpu_ddp"
    launcher = ["--config_file", f"configs/accelerate/{launcher}.yaml"]
    done = launch(f"{algorithm}_endorm", recipe, tmp_path, launcher, **fields)
    metrics = first_step(tmp_path)
    assert all(math.isfinite(v) for v in metrics.values())
    for what in ("mean", "std"):
        assert metrics[f"rewards/twin/{what}"] == pytest.approx(metrics[f"rewards/endorm/{what}"], abs=1e-3)
        assert metrics[f"rewards/stranger/{what}"] != pytest.approx(metrics[f"rewards/endorm/{what}"], abs=1e-3)
    assert metrics["kl/k1"] == pytest.approx(0, abs=1e-4)  # the reference is the policy's base, no teacher
    assert (done.stdout + done.stderr).count("reads responses re-tokenised") == 1  # by the first process


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_a_reward_prompt_beside_none(algorithm, rehearsal, problems, tmp_path):
    recipe = f"configs/math/steer_{algorithm}_qwen2.5_math_1.5b_lora.yaml"
    (steered,) = yaml.safe_load((ROOT / recipe).read_text())["rewards"]
    rewards = json.dumps([{"name": "endorm"}, steered | {"as": "steered"}])
    fields = FIELDS | {"model_name_or_path": rehearsal, "dataset_name": problems, "rewards": rewards}
    launch(f"{algorithm}_endorm", recipe, tmp_path, DDP, **fields)
    metrics = first_step(tmp_path)
    assert all(math.isfinite(v) for v in metrics.values())
    assert metrics["rewards/steered/mean"] != pytest.approx(metrics["rewards/endorm/mean"], abs=1e-3)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*/distill_*")), ids=lambda path: path.stem)
def test_recipes_load_the_teacher_they_name(path, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        EndoRM, "from_pretrained", lambda name, *, dtype, device=None, batch_tokens=1: loaded.append(name) or EndoRM()
    )
    recipe = yaml.safe_load(path.read_text())
    teacher, *others = rewards_of_recipe(recipe["rewards"])
    assert loaded == [recipe["rewards"][0]["model"]] != [recipe["model_name_or_path"]]
    assert teacher.shaping.weight == 1.0
    assert [other.shaping.weight for other in others] in ([], [0.0])  # labels are only logged


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*/steer_*")), ids=lambda path: path.stem)
def test_recipes_steer_by_a_prompt_that_the_policy_does_not_read(path):
    recipe = yaml.safe_load(path.read_text())
    fields = {k: v for k, v in recipe.items() if k in ("rewards", "reward_funcs")}
    (reward,) = build_rewards(RewardArguments(**fields))
    prompt = getattr(reward, "func", reward).system_prompt
    assert prompt
    assert prompt != recipe.get("system_prompt")
