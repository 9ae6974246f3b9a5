"""Recipes: fields, the command line, end tokens, and where to resume."""

import re
import sys

import pytest
import yaml
from tiny_models import ROOT

from train.recipe_rewards import RewardArguments


def parse(monkeypatch, *argv):
    from trl import ModelConfig

    from train.ppo_trainer import PPOConfig
    from train.prompts import DataArguments
    from train.recipe import RecipeArguments, parse_recipe
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


def test_unknown_end_token(rehearsal):
    from trl import ModelConfig

    from train.run import load_tokenizer

    with pytest.raises(ValueError, match="No model"):
        load_tokenizer(ModelConfig())
    with pytest.raises(ValueError, match="not in the vocabulary"):
        load_tokenizer(ModelConfig(model_name_or_path=rehearsal), "<|no_such_token|>")
    assert load_tokenizer(ModelConfig(model_name_or_path=rehearsal), "<|im_end|>").eos_token == "<|im_end|>"


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
