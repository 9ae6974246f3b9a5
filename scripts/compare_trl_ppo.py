"""Do TRL 1.12's PPOTrainer and ours learn alike from the same terminal reward, and what do dense rewards add?

Each trains the demo's base on as many responses with the settings of configs/demo/ppo.yaml: TRL's with EndoRM through
`PPORewardModel`, in an environment that pip makes in outputs/trl112, ours with the reward on the last token, and ours
with token rewards. Writes results.json, results.md and compare_trl_ppo.png. Killed and started again, it goes on. A
quarter of an hour on two cores.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from train.benchmarking import record
from train.demo_evaluation import evaluate, read_prompts
from train.launcher import LAUNCH_ONE, run_stage
from train.legacy_trl import legacy_environment
from train.reward_table import interval

RECIPE = Path("configs/demo/ppo.yaml")
TRAINERS = {  # name: folder of its runs, the logged mean reward of a rollout
    "TRL 1.12, terminal": ("trl", "objective/scores"),
    "ours, terminal": ("terminal", "rewards/endorm/mean"),
    "ours, dense": ("dense", "rewards/endorm/mean"),
}
MEASURES = {
    "sampled accuracy at the end": lambda run: run["sampled"]["accuracy"],
    "EndoRM of all rollouts, mean (nats)": lambda run: np.mean(run["rewards"]),  # higher if it learns sooner
}


def train(name: str, seed: int, folder: Path, args, environment: dict[str, str]) -> None:
    """Train one policy if it is not there yet."""
    kind, _ = TRAINERS[name]
    if (folder / kind / "trainer_state.json").is_file():  # written last
        return
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    minibatches, epochs = recipe["steps_per_generation"], recipe["num_iterations"]
    if kind == "trl":
        command = [sys.executable, "scripts/bench_trl_ppo.py"]
        same = ("max_completion_length", "temperature", "learning_rate", "kl_coef")
        fields = {"gamma": recipe["gamma"], "lam": recipe["lam"], **args.fields}
        flags = {key: recipe[key] for key in same} | {
            "model": folder / "base",
            "dataset": folder / "data/train.jsonl",
            "batch": minibatches * recipe["per_device_train_batch_size"],
            "minibatches": minibatches,
            "epochs": epochs,
            "fields": json.dumps(fields),
            "warm_up": 0,
            "rollouts": args.rollouts,
            "save": folder / kind,
        }
    else:
        command, environment = [*LAUNCH_ONE, "train/ppo_endorm.py", "--config", str(RECIPE)], None
        flags = {
            "model_name_or_path": folder / "base",
            "dataset_name": folder / "data/train.jsonl",
            "reward_placement": kind,
            "max_steps": args.rollouts * minibatches * epochs,
            "logging_steps": minibatches * epochs,
            "output_dir": folder / kind,
        }
    words = [word for flag, value in (flags | {"seed": seed}).items() for word in (f"--{flag}", str(value))]
    run_stage([*command, *words], folder / f"{kind}.txt", environment)


def measured(name: str, seed: int, folder: Path, n: int) -> dict:
    """Held-out accuracies of one policy, and the mean reward of each of its rollouts."""
    kind, metric = TRAINERS.get(name, ("base", None))
    tokenizer, prompts = AutoTokenizer.from_pretrained(folder / "base"), read_prompts(folder / "data/heldout.jsonl", n)
    model = AutoModelForCausalLM.from_pretrained(folder / kind, dtype=torch.float32).eval()
    row = {"name": name, "seed": seed}
    row |= {d: evaluate(name, model, tokenizer, prompts, d, seed) for d in ("sampled", "greedy")}
    if metric is None:
        return row
    history = json.loads((folder / kind / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return row | {"rewards": [entry[metric] for entry in history if metric in entry]}


def differences(runs: list[dict]) -> list[dict]:
    """Of each two trainers, how much more of each measure the second has, paired by seed: mean and 95 % interval."""
    rows = []
    for (measure, of), (first, second) in product(MEASURES.items(), combinations(TRAINERS, 2)):
        values = {name: [of(run) for run in runs if run["name"] == name] for name in (first, second)}
        mean, low, high = interval(np.subtract(values[second], values[first]))
        finding = "above" if low > 0 else "below" if high < 0 else "not told apart"
        rows.append({"measure": measure, "name": second, "over": first, "mean": mean, "ci95": [low, high]})
        rows[-1]["finding"] = finding
    return rows


def markdown(runs: list[dict], found: list[dict]) -> str:
    """A row for each policy, then the paired differences."""
    lines = ["| policy | seed | sampled | greedy | tokens |", "|---|---|---|---|---|"]
    for run in runs:
        spans = [
            f"{r['accuracy']:.3f} ({r['ci95'][0]:.3f} to {r['ci95'][1]:.3f})" for r in (run["sampled"], run["greedy"])
        ]
        lines.append(f"| {run['name']} | {run['seed']} | {' | '.join(spans)} | {run['sampled']['mean_tokens']:.2f} |")
    lines += ["", "| measure, paired by seed | trainer | over | difference | |", "|---|---|---|---|---|"]
    for row in found:
        span = f"{row['mean']:+.3f} ({row['ci95'][0]:+.3f} to {row['ci95'][1]:+.3f})"
        lines.append(f"| {row['measure']} | {row['name']} | {row['over']} | {span} | {row['finding']} |")
    return "\n".join(lines)


def draw(runs: list[dict], batch: int, path: Path) -> None:
    """Left, sampled accuracy of each policy with its interval; right, the mean reward of the rollouts in training."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    ends, training = figure.subplots(1, 2)
    names = list(dict.fromkeys(run["name"] for run in runs))
    for i, name in enumerate(names):
        own = [run for run in runs if run["name"] == name]
        middle = np.array([run["sampled"]["accuracy"] for run in own])
        low, high = np.array([run["sampled"]["ci95"] for run in own]).T
        places = i + 0.1 * (np.arange(len(own)) - (len(own) - 1) / 2)
        ends.errorbar(places, middle, yerr=[middle - low, high - middle], fmt="o", color=f"C{i}", capsize=2)
        if name in TRAINERS:
            rewards = np.mean([run["rewards"] for run in own], axis=0)
            training.plot(batch * np.arange(1, len(rewards) + 1), rewards, color=f"C{i}", label=name, lw=1.2)
    ends.set_xticks(range(len(names)), names)
    ends.set_ylabel("sampled accuracy, 95 % interval")
    training.set_xlabel("responses")
    training.set_ylabel("EndoRM of the rollouts, mean over seeds (nats)")
    training.grid(alpha=0.3)
    training.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/compare_trl_ppo"), help="folder for everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rollouts", type=int, default=120, help="of each run")
    parser.add_argument("--base_steps", type=int, default=700, help="training steps of each seed's base")
    parser.add_argument("--fields", type=json.loads, default={}, help="more settings of TRL's PPOConfig, as JSON")
    parser.add_argument("--n", type=int, default=2000, help="held-out prompts")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each")
    args = parser.parse_args()
    args.output = args.output.resolve()
    os.chdir(Path(__file__).parents[1])
    torch.set_num_threads(1)
    environment, folders = legacy_environment(), {seed: args.output / f"seed{seed}" for seed in args.seeds}

    for seed, folder in tqdm(folders.items(), desc="bases"):
        if not (folder / "base/tokenizer.json").is_file():  # written last
            make = [
                "scripts/make_demo_base.py",
                "--output",
                folder / "base",
                "--seed",
                seed,
                "--steps",
                args.base_steps,
            ]
            run_stage([sys.executable, *map(str, make)], folder / "base.txt")
    jobs = [(name, seed) for seed in args.seeds for name in TRAINERS]
    with ThreadPoolExecutor(args.jobs) as pool:
        done = pool.map(lambda job: train(*job, folders[job[1]], args, environment), jobs)
        list(tqdm(done, total=len(jobs), desc="training"))
    runs = [measured(name, seed, folders[seed], args.n) for name in ("base", *TRAINERS) for seed in args.seeds]

    found = differences(runs)
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    draw(
        runs,
        recipe["steps_per_generation"] * recipe["per_device_train_batch_size"],
        args.output / "compare_trl_ppo.png",
    )
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    report = {"runs": runs, "differences": found, "recipe": recipe} | record(settings)
    (args.output / "results.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(runs, found)
    (args.output / "results.md").write_text(text + "\n", encoding="utf-8")
    print(f"{text}\n\nWrote results.json, results.md and compare_trl_ppo.png to {args.output}")


if __name__ == "__main__":
    main()
