"""Runs of a real chat model on a task with short answers: trained by the entry scripts, measured, one JSON file a run.

A run that has its file is not made again, and one that was killed goes on where its samples end, so a table can grow
over hours.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch
import yaml
from tqdm import tqdm

from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from train.checkpoints import has_ended, newest_complete
from train.tasks.chat_evaluation import evaluate_chat
from train.tasks.chat_tasks import TASKS, read_rows

BASE = "base"
STEPS = 4  # optimizer steps that the recipes take with one rollout
SIDES = {"heldout": ("sampled", "greedy", "low_temperature"), "train": ("sampled", "greedy")}
CURVES = {  # name in a run's file: metric of the training's log
    "reward": "reward",
    "accuracy": "rewards/accuracy/mean",
    "tokens": "completions/mean_length",
    "tokens_of_ended": "completions/mean_terminated_length",
    "ended": "completions/eos_rate",
    "repetition": "completions/repetition_rate",
    "kl": "kl/k1",
    "entropy": "entropy",
    "explained": "critic/explained_variance",
    "spread_at_first": "dynamic_sampling/groups_with_spread_at_first",
    "spread": "dynamic_sampling/groups_with_spread",
    "drawn": "dynamic_sampling/responses_drawn",
    "own_problems": "own_problems/groups",
    "heldout_accuracy": "eval_rewards/accuracy/mean",
    "heldout_tokens": "eval_completions/mean_length",
}


@dataclass(frozen=True)
class ChatRun:
    """What one training is.

    Attributes:
        name: of its row.
        rewards: as a recipe's `rewards`; "majority", "accuracy" and "format" stand for the task's own.
        algorithm: "ppo" or "grpo".
        fields: of the recipe, in place of its own.
    """

    name: str
    rewards: Sequence[Mapping] = ({"name": "endorm"},)
    algorithm: str = "ppo"
    fields: Mapping = field(default_factory=dict)

    def recipe(self, task: str, seed: int, rollouts: int, model: Path, data: Path, output: Path) -> dict:
        """The whole recipe: that of configs/demo with this run's changes."""
        own = TASKS[task]
        named = {"majority": {"name": own.majority}, "accuracy": {"name": own.accuracy, "as": "label"}}
        named["format"] = {"name": "format_only", "pattern": own.format}
        recipe = yaml.safe_load(Path(f"configs/demo/capitals_{self.algorithm}.yaml").read_text(encoding="utf-8"))
        rewards = [{**reward, **named.get(str(reward["name"]), {})} for reward in self.rewards]
        recipe = {key: value for key, value in recipe.items() if key not in ("reward_funcs", "reward_weights")}
        return recipe | {
            "model_name_or_path": str(model),
            "dataset_name": str(data / "train.jsonl"),
            "heldout_name": str(data / "heldout.jsonl"),
            "rewards": [*rewards, {"name": own.accuracy, "as": "accuracy", "weight": 0.0}],  # logged, not learned from
            "metric_for_best_model": "rewards/accuracy/mean",
            "max_completion_length": own.max_tokens,
            "max_steps": STEPS * rollouts,
            "output_dir": str(output),
            "seed": seed,
            **self.fields,
        }


def measure(
    name: str, model: Path, task: str, data: Path, folder: Path, seed: int, dtype: str, sides: Mapping = SIDES
) -> dict[str, list[dict]]:
    """Accuracies (`evaluate_chat`) by side: on held-out questions and on as many of training."""
    found, n = {}, len(read_rows(data / "heldout.jsonl"))
    for side, decodings in sides.items():
        rows = read_rows(data / f"{side}.jsonl", n)
        found[side] = evaluate_chat(name, model, TASKS[task], rows, folder / side, seed, dtype, decodings)
    return found


def run_label(name: str, task: str, seed: int) -> str:
    """What a run's folder and its file are called."""
    return f"{task}_{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}_seed{seed}"


def questions(task: str, output: Path) -> Path:
    """The folder with a task's questions, written if they are not there yet."""
    data = output / "data" / task
    if not (data / "heldout.jsonl").is_file():
        TASKS[task].write_splits(data)
    return data


def make_base(task: str, seed: int, model: Path, output: Path, dtype: str) -> dict:
    """The base's own file, which runs are compared with: the same questions and seed of the sampling as theirs."""
    label = run_label(BASE, task, seed)
    file = output / "runs" / f"{label}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    found = measure(BASE, model, task, questions(task, output), output / label, seed, dtype)
    facts = {"name": BASE, "task": task, "seed": seed, "model": str(model), **found} | record()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return facts


def curves(history: Sequence[Mapping]) -> dict[str, list]:
    """The logged metrics of a training that `CURVES` names, each as its steps and its values."""
    found = {}
    for name, metric in CURVES.items():
        points = [(row["step"], round(row[metric], 5)) for row in history if row.get(metric) is not None]
        if points:
            found[name] = [list(column) for column in zip(*points)]
    return found


def make_run(
    run: ChatRun,
    task: str,
    seed: int,
    rollouts: int,
    model: Path,
    output: Path,
    dtype: str,
    keep: bool = False,
    sides: Mapping = SIDES,
) -> dict:
    """One run's file, made if it is not there yet.

    Args:
        model: folder of the base, or its hub name.
        output: of the experiment; the run's folder, the task's questions and `runs/` with the files lie in it.
        dtype: of the weights in evaluation.
        keep: the trained weights, half a gigabyte, which are removed otherwise.
        sides: which questions it is measured on, and under which decodings.
    """
    label = run_label(run.name, task, seed)
    file, folder = output / "runs" / f"{label}.json", output / label
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    data = questions(task, output)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = run.recipe(task, seed, rollouts, model, data, folder / "policy")
    start = time.time()
    if not has_ended(folder / "policy"):
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        command = [*LAUNCH_ONE, f"train/{run.algorithm}_endorm.py", "--config", str(path)]
        if newest_complete(folder / "policy"):
            command += ["--resume_from_checkpoint", "latest"]
        run_stage(command, folder / "log.txt", threads=torch.get_num_threads())  # accelerate would take one
        if not has_ended(folder / "policy"):
            raise SystemExit(f"{folder} was told to stop early: give the same command again, and it goes on.")
    trained = time.time() - start
    found = measure(run.name, folder / "policy", task, data, folder / "samples", seed, dtype, sides)
    history = json.loads((folder / "policy/trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    facts = {
        "name": run.name,
        "task": task,
        "seed": seed,
        "algorithm": run.algorithm,
        "rollouts": rollouts,
        "rewards": recipe["rewards"],
        "fields": dict(run.fields),
        **found,
        "curves": curves(history),
        "seconds": {"training": round(trained), "evaluation": round(time.time() - start - trained)},
    } | record()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    if not keep:
        for weights in (folder / "policy").glob("*.safetensors"):
            weights.unlink()
    for checkpoint in (folder / "policy").glob("checkpoint-*"):  # of a training that was told to stop
        shutil.rmtree(checkpoint)
    return facts


def add_arguments(parser: ArgumentParser, runs: Mapping[str, ChatRun], output: str, seeds: Sequence[int]) -> None:
    """The flags that every experiment of such runs has.

    Args:
        runs: by name, those that can be chosen.
        output, seeds: defaults.
    """
    add = parser.add_argument
    add("--model", type=Path, default=Path("outputs/SmolLM2-135M-Instruct"), help="folder or hub name")
    add("--output", type=Path, default=Path(output), help="folder for everything")
    add("--seeds", type=int, nargs="+", default=list(seeds))
    add("--runs", nargs="+", choices=runs, default=list(runs), metavar="NAME", help="; ".join(runs))
    add("--rollouts", type=int, default=10, help="of 64 responses, in each run")
    add("--dtype", default="float32", choices=("float32", "bfloat16"), help="of the weights in evaluation")
    add("--keep_models", action="store_true", help="keep the trained weights, half a gigabyte a run")
    add("--write_readme", action="store_true", help="only write the tables of results/ to the README")


def make_runs(
    runs: Mapping[str, ChatRun], tasks: Sequence[str], args: Namespace, sides: Mapping = SIDES
) -> list[dict]:
    """Files of the base and of the runs that the flags of `add_arguments` choose, for each task and seed."""
    files = []
    for task, seed, name in tqdm(list(product(tasks, args.seeds, (BASE, *args.runs))), desc="runs"):
        if name == BASE:
            files.append(make_base(task, seed, args.model, args.output, args.dtype))
        else:
            how = (args.rollouts, args.model, args.output, args.dtype, args.keep_models, sides)
            files.append(make_run(runs[name], task, seed, *how))
    return files
