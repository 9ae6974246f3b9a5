"""Every reward by its name in a recipe, for a step of both trainers through the entry scripts with two processes."""

import json
import math
import os
import shutil

import helpers
import pytest
import torch
import yaml
from helpers import grpo, history, ppo, trained
from launching import SMALL, launch, logged
from tiny_models import ROOT
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from trl import GRPOTrainer

from rewards import REWARDS
from train.recipe_rewards import RewardArguments, build_rewards

pytestmark = pytest.mark.slow

FILES = ("verifiable", "majority_vote", "cluster_share", "length_penalties", "controls")


NAMES = [name for name, path in REWARDS.items() if path.split(".")[1] in FILES]


ONLINE = ("self_certainty", "negative_entropy", "mean_log_likelihood", "sequence_log_likelihood", "rlpr", "verifree")


SETTINGS = {"num_generations": 4, "max_steps": 1, "temperature": 2.0}


@pytest.mark.parametrize("algorithm, kwargs", [(grpo, {"cls": GRPOTrainer}), (grpo, {}), (ppo, {})])
def test_one_step(algorithm, kwargs, saved_model, tmp_path, monkeypatch):
    solutions = [str(i % 10) for i in range(len(helpers.PROMPTS))]
    monkeypatch.setattr(helpers, "PROMPTS", helpers.PROMPTS.add_column("solution", solutions))
    seen = {}

    def spy(completions, **columns):
        seen.update(columns, completions=completions)
        return [0.0] * len(completions)

    rewards = build_rewards(RewardArguments(reward_funcs=NAMES))
    assert len(rewards) == 14
    trainer = trained(algorithm(saved_model, tmp_path, rewards=[*rewards, spy], **SETTINGS, **kwargs))
    assert len(set(seen["prompts"])) == 2
    state = seen.pop("trainer_state")
    state.global_step = 0  # as it was in the rollout
    for name, reward in zip(NAMES, rewards):
        values = [r for r in reward(**seen, trainer_state=state) if r is not None]
        assert history(trainer, f"rewards/{name}/mean") == pytest.approx([sum(values) / len(values)], abs=1e-6)
    assert history(trainer, "rewards/length/mean") == history(trainer, "completions/mean_length")
    assert 0 < history(trainer, "rewards/cluster_share/mean")[0] < 1  # random text has numbers in it


GROUP_SIZE = """
from rewards.groups import gather_groups

def group_size(prompts, completions, **columns):
    groups, positions = gather_groups(prompts, completions)
    return [float(len(groups[number])) for number, place in positions]
"""


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_the_entry_scripts_with_two_processes(algorithm, rehearsal, problems, tmp_path, monkeypatch):
    """All in one recipe, and one by its dotted path: a group of 8 is whole, though each process has 4 of it."""
    (tmp_path / "my_rewards.py").write_text(GROUP_SIZE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    recipe = yaml.safe_load((ROOT / f"configs/math/{algorithm}_qwen2.5_math_7b.yaml").read_text())
    names = ["endorm", *NAMES, "my_rewards.group_size"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"rewards": None, "reward_funcs": names}))
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": problems, "max_steps": 1, "num_generations": 8}
    fields |= {"bf16": False, "dtype": "float32", "frozen_dtype": "float32", "save_strategy": "no"}
    launcher = ["--config_file", "configs/accelerate/cpu_ddp.yaml"]
    launch(f"{algorithm}_endorm", tmp_path / "recipe.yaml", tmp_path / "run", launcher, **fields)
    metrics = {k: v for row in logged(tmp_path / "run") for k, v in row.items()}
    assert (metrics["rewards/group_size/mean"], metrics["rewards/constant/mean"]) == (8, 1)
    assert all(math.isfinite(metrics[f"rewards/{name}/mean"]) for name in NAMES)


@pytest.fixture(scope="module")
def others(rehearsal, tmp_path_factory) -> tuple[str, str]:
    """A reward model with a head, and another checkpoint, both with the policy's tokenizer."""
    folders = [shutil.copytree(rehearsal, tmp_path_factory.mktemp(name) / "model") for name in ("trained", "phi")]
    AutoModelForSequenceClassification.from_pretrained(rehearsal, num_labels=1).save_pretrained(folders[0])
    phi = AutoModelForCausalLM.from_pretrained(rehearsal)
    with torch.no_grad():
        for p in phi.parameters():
            p.mul_(1.05)
    phi.save_pretrained(folders[1])
    return str(folders[0]), str(folders[1])


@pytest.mark.parametrize("algorithm, launcher", [("ppo", "zero3"), ("grpo", "ddp")])
def test_those_that_ask_a_model(algorithm, launcher, rehearsal, saved_judge, others, problems, tmp_path):
    trained, phi = others
    entries = [
        {"name": "endorm"},
        *[{"name": name} for name in ONLINE],
        *[{"name": name, "online": True, "as": f"online_{name}"} for name in ONLINE],
        {"name": "sequence_log_likelihood", "steps": "line", "as": "by_line"},
        {"name": "generative_verifier", "model": saved_judge, "form": "prob"},
        {"name": "pointwise_judge", "model": saved_judge, "max_new_tokens": 4},
        {"name": "pairwise_judge", "model": saved_judge},
        {"name": "rubric", "model": saved_judge, "criteria": ["It ends."]},
        {"name": "trained_reward", "model": trained},
        {"name": "implicit_reward", "model": phi, "reference": rehearsal},
    ]
    untested = set(REWARDS) - set(NAMES) - {entry["name"] for entry in entries}
    # which need bubblewrap and a column of their own, and have tests of their own
    assert untested == {"unit_tests", "right_verdict"}
    recipe = yaml.safe_load((ROOT / f"configs/math/{algorithm}_qwen2.5_math_7b.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"rewards": entries}))
    fields = SMALL | {"model_name_or_path": rehearsal, "dataset_name": problems, "max_steps": 1, "num_generations": 4}
    fields |= {"bf16": False, "dtype": "float32", "frozen_dtype": "float32", "save_strategy": "no"}
    launcher = ["--config_file", f"configs/accelerate/cpu_{launcher}.yaml"]
    launch(f"{algorithm}_endorm", tmp_path / "recipe.yaml", tmp_path / "run", launcher, **fields)
    metrics = {k: v for row in logged(tmp_path / "run") for k, v in row.items()}
    for entry in entries:
        name = entry.get("as", entry["name"])
        if name == "pointwise_judge":  # a random model writes no marks, and says so
            assert metrics["pointwise_judge/unparsable"] == 1
            continue
        assert math.isfinite(metrics[f"rewards/{name}/mean"]), json.dumps(metrics)
    for name in ONLINE:  # the policy is still its base
        assert metrics[f"rewards/online_{name}/mean"] == pytest.approx(metrics[f"rewards/{name}/mean"], abs=1e-4)
