"""The learning rate of every update of every recipe, from the scheduler that it names."""

import math

import pytest
import torch
import yaml
from tiny_models import ROOT
from transformers import TrainingArguments, get_scheduler

RECIPES = [path for path in sorted((ROOT / "configs").rglob("*.yaml")) if path.parent.name != "accelerate"]
PROMPTS = 7500  # rows that MATH-lighteval has for training
GPUS = {"ppo_qwen2.5_math_7b": 8, "grpo_qwen2.5_math_7b": 8}  # by what the recipes say; the others are for one


def updates_of(recipe: dict, gpus: int) -> int:
    if "max_steps" in recipe:
        return recipe["max_steps"]
    slice_ = recipe["per_device_train_batch_size"] * gpus
    prompts = slice_ * recipe["steps_per_generation"] // recipe.get("num_generations", 1)  # of a rollout
    slices = PROMPTS // prompts * recipe["steps_per_generation"] * recipe.get("num_iterations", 1)
    return slices // recipe["gradient_accumulation_steps"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_update_of_a_recipe_is_wasted(path, tmp_path):
    """A linear warmup that starts at 0 would waste the first of 56 updates, and of a rehearsal's three."""
    recipe = yaml.safe_load(path.read_text())
    names = ("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps")
    fields = {name: recipe[name] for name in names if name in recipe}
    args = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True, **fields)
    for updates in (updates_of(recipe, GPUS.get(path.stem, 1)), 3):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate)
        warmup = args.get_warmup_steps(updates)
        scheduler = get_scheduler(args.lr_scheduler_type, optimizer, warmup, updates, args.lr_scheduler_kwargs)
        rates = []
        for _ in range(updates):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        share = recipe.get("warmup_steps", 0)
        assert rates[0] == pytest.approx(recipe["learning_rate"] / max(1, math.ceil(share * updates)))
        assert max(rates) == pytest.approx(recipe["learning_rate"])
        assert min(rates) > 0
