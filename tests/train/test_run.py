"""The story of a training: what is refused before anything is loaded, and what the launcher's word changes."""

import sys
from pathlib import Path

import pytest
import yaml
from chat_templates import FAMILIES
from datasets import Dataset
from helpers import grpo
from tiny_models import ROOT, judge_model

from train.grpo_trainer import EndoGRPOConfig, EndoGRPOTrainer
from train.ppo_trainer import PPOConfig
from train.recipe import read_recipe
from train.run import run, warn_of_other_end

CHAT = [{"role": "user", "content": "Hi"}]
RECIPES = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if p.parent.name != "accelerate")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_its_algorithm_and_its_command_agrees(path):
    text = path.read_text()
    assert f"train/{yaml.safe_load(text)['algorithm']}_endorm.py" in text


def test_a_recipe_is_planned_as_what_it_says(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("algorithm: grpo\nmodel_name_or_path: M\n")  # without beta
    assert read_recipe(recipe)["num_generations"] == EndoGRPOConfig.num_generations
    recipe.write_text("model_name_or_path: M\nkl_coef: 0.1\n")
    with pytest.raises(ValueError, match="add the line algorithm: ppo or algorithm: grpo"):
        read_recipe(recipe)


def test_the_other_entry_script_refuses_a_recipe(tmp_path, monkeypatch):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"algorithm: ppo\nmodel_name_or_path: M\nuse_cpu: true\noutput_dir: {tmp_path}\nbf16: false\n")
    monkeypatch.setattr(sys, "argv", ["grpo_endorm.py", "--config", str(recipe)])
    with pytest.raises(SystemExit, match="run train/ppo_endorm.py with it"):
        run("grpo", EndoGRPOTrainer)


@pytest.mark.parametrize("field", ["--endorm_discount", "--judge_model"])
def test_settings_of_a_reward_outside_of_its_entry_are_refused(field, tmp_path, monkeypatch, capsys):
    line = ["grpo_endorm.py", "--use_cpu", "true", "--bf16", "false", "--output_dir", str(tmp_path), field, "1"]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit):
        run("grpo", EndoGRPOTrainer)
    assert "the settings of a reward stand in its entry, e.g. rewards:" in capsys.readouterr().err


@pytest.mark.parametrize("config", [PPOConfig, EndoGRPOConfig])
def test_a_launcher_that_was_told_to_use_cpus_is_believed(config, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert config(str(tmp_path), bf16=False).use_cpu
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    assert config(str(tmp_path), bf16=False, use_cpu=True).use_cpu


@pytest.mark.parametrize("name, said", [("qwen2.5", "set eos_token: <|im_end|>"), ("qwen3", ""), ("mistral", "")])
def test_a_policy_that_does_not_stop_where_its_chat_template_does(name, said, tmp_path, caplog):
    tokenizer = FAMILIES[name].tokenizer()
    for prompt in (CHAT, "a text"):
        extra = {"train_dataset": Dataset.from_dict({"prompt": [prompt] * 8}), "processing_class": tokenizer}
        model = judge_model(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
        caplog.clear()
        warn_of_other_end(grpo(model, tmp_path, trainer_kwargs=extra))
        found = [m for m in caplog.messages if "at which the policy does not stop" in m]
        assert len(found) == bool(said and prompt is CHAT)
        assert not found or said in found[0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("enable", r'chat_template_kwargs is not JSON .*write it as \{"enable_thinking": false\}'),
        ('{"add_generation_prompt": false}', "cannot set add_generation_prompt"),
    ],
)
def test_variables_of_the_chat_template_that_cannot_be_read(text, message, rehearsal, problems, tmp_path, monkeypatch):
    line = ["grpo_endorm.py", "--use_cpu", "true", "--bf16", "false", "--output_dir", str(tmp_path)]
    line += ["--model_name_or_path", rehearsal, "--dataset_name", problems, "--chat_template_kwargs", text]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(ValueError, match=message):
        run("grpo", EndoGRPOTrainer)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["cpu_ddp", "cpu_zero2"])
def test_a_cpu_launcher_needs_no_flag_of_the_script(launcher, rehearsal, problems, tmp_path):
    from launching import SMALL, launch, logged

    fields = {k: v for k, v in SMALL.items() if k != "use_cpu"} | {"max_steps": 1, "save_strategy": "no"}
    fields |= {"model_name_or_path": rehearsal, "dataset_name": problems, "heldout_split": "", "bf16": False}
    file = ["--config_file", f"configs/accelerate/{launcher}.yaml"]
    output = Path(tmp_path)
    launch("ppo_endorm", "configs/math/ppo_qwen2.5_math_7b.yaml", output, file, frozen_dtype="float32", **fields)
    assert logged(output)[-1]["step"] == 1
