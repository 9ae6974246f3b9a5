"""What the README and that of the rewards print runs as printed, links lead somewhere, and the README stays short."""

import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import trl
import yaml
from datasets import Dataset
from limits import LIMIT
from tiny_models import ROOT
from trl.experimental.utils import get_reward

import rewards
from train.recipe_rewards import rewards_of_recipe

README = (ROOT / "README.md").read_text(encoding="utf-8")
OF_REWARDS = (ROOT / "rewards/README.md").read_text(encoding="utf-8")
ROOMS = ("train", "rewards", "scripts", "configs", "tests")
READMES = [
    path
    for pattern in ("*.md", ".github/*.md", *(f"{room}/**/*.md" for room in ROOMS))
    for path in sorted(ROOT.glob(pattern))
]
NOT_RUN = {  # the beginning of a command, and why the tests do not run it
    "bash scripts/demo.sh": "makes the environment, fetches a model and trains for minutes",
    "bash scripts/test.sh": "runs these very tests",
}


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.M | re.S)


def commands(block: str) -> list[str]:
    """Its commands, each on one line."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def is_run(command: str) -> bool:
    return not command.startswith(tuple(NOT_RUN))


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of what a fresh clone has, with this environment as its .venv."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("train", "rewards", "scripts", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    activate = folder / ".venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n', encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in blocks("bash") if any(map(is_run, commands(b)))])
def test_commands_run_as_printed(block, clone):
    lines = [c for c in commands(block) if is_run(c)]
    environment = os.environ | {"PYTHONPATH": str(clone), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    script = ["bash", "-e", "-c", "\n".join(lines)]
    done = subprocess.run(script, cwd=clone, env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_every_command_that_is_not_run_is_printed():
    printed = [c for block in blocks("bash") for c in commands(block)]
    for beginning in NOT_RUN:
        assert any(c.startswith(beginning) for c in printed), f"{beginning} is not in README.md any more"


def test_the_reward_in_a_trl_trainer(rehearsal, monkeypatch):
    """With a tiny model in place of the hub's, and TRL's trainer replaced by what looks at its arguments."""
    block = next(b for b in blocks("python") if "GRPOTrainer" in b)
    given = {}
    monkeypatch.setattr(trl, "GRPOTrainer", lambda **arguments: given.update(arguments))
    names = {"dataset": Dataset.from_dict({"prompt": ["What is 2+2?"]})}
    exec(block.replace("Qwen/Qwen2.5-0.5B-Instruct", str(rehearsal)), names)
    assert len(names["rm"].score(["What is 2+2?"], [" It is 4."])) == 1
    assert given["reward_funcs"] is names["rm"]


def test_the_reward_model_of_trls_ppo_trainer(rehearsal, monkeypatch):
    """With a tiny model, and in place of the trainer of TRL <= 1.12 one that only asks for the reward of a rollout."""
    (block,) = blocks("python", OF_REWARDS)
    settings, given, seen = {}, {}, {}

    class PPOTrainer:
        def __init__(self, **arguments):
            given.update(arguments)

        def train(self):
            tokenizer, prompts = given["processing_class"], given["train_dataset"]["input_ids"]
            response = tokenizer("It is 4." + tokenizer.eos_token)["input_ids"]
            rows = torch.tensor([[*prompt, *response] for prompt in prompts[:2]])
            context = len(prompts[0])
            seen["rewards"] = get_reward(given["reward_model"], rows, tokenizer.pad_token_id, context)[1].tolist()

    module = types.ModuleType("trl.experimental.ppo")
    module.PPOConfig, module.PPOTrainer = settings.update, PPOTrainer
    monkeypatch.setitem(sys.modules, "trl.experimental.ppo", module)
    names = {}
    exec(block.replace("Qwen/Qwen2.5-0.5B", str(rehearsal)), names)
    rm = rewards.EndoRM(rewards.FrozenBase(given["ref_model"]), names["tokenizer"])
    assert seen["rewards"] == pytest.approx(rm.score(names["prompts"][:2], ["It is 4."] * 2), abs=1e-3)
    assert len(given["train_dataset"]) == settings["total_episodes"] == 128
    assert given["model"] is not given["ref_model"]
    assert given["value_model"].config.num_labels == 1


@pytest.mark.parametrize("block", [b for b in blocks("yaml", OF_REWARDS) if re.search(r"^rewards:", b, re.M)])
def test_the_entries_that_are_printed_are_understood(block, rehearsal, monkeypatch):
    """With a tiny model in place of a teacher; a judge behind an endpoint is asked nothing before a training."""
    monkeypatch.setenv("JUDGE_KEY", "any")
    entries = yaml.safe_load(block.replace("Qwen/Qwen2.5-Math-7B", str(rehearsal)))["rewards"]
    names = [reward.name for reward in rewards_of_recipe(entries)]
    assert names[: len(entries)] == [entry.get("as", entry["name"]) for entry in entries]


def test_a_reward_in_ten_lines(monkeypatch):
    block = next(b for b in blocks("python") if "REWARDS" in b)
    _, reward, registry, test = re.split(r"^# \S+\.py\n", block, flags=re.M)
    assert len([line for line in block.splitlines() if line and not line.startswith("#")]) <= 10
    module = types.ModuleType("rewards.distinct")
    exec(reward, vars(module))  # as if it were the file
    monkeypatch.setitem(sys.modules, "rewards.distinct", module)
    names = {"REWARDS": dict(rewards.REWARDS)}
    exec(registry, names)
    monkeypatch.setattr(rewards, "REWARDS", names["REWARDS"])
    namespace = {"get_reward": rewards.get_reward}
    exec(test, namespace)
    namespace["test_distinct"]()


def test_the_readme_is_short_enough_to_read():
    lines = README.splitlines()
    assert len(lines) <= 180
    assert [line for line in lines if len(line) > 160 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", READMES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = [x.split("#")[0] for x in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", x)]
    assert [x for x in links if not (page.parent / x).exists()] == []
