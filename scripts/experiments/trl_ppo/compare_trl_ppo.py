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
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.reporting.intervals import student
from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.checkpoints import has_ended
from train.cost.legacy_trl import legacy_environment
from train.tasks.arithmetic_evaluation import evaluate, read_prompts

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
RECIPE = Path("configs/demo/ppo.yaml")
TRAINERS = {  # name: folder of its runs, the logged mean reward of a rollout
    "TRL 1.12, terminal": ("trl", "objective/scores"),
    "ours, terminal": ("terminal", "rewards/endorm/mean"),
    "ours, dense": ("dense", "rewards/endorm/mean"),
}
MEASURES = {
    "sampled accuracy at the end": lambda run: run["sampled"]["accuracy"],
    "mean EndoRM of all rollouts (nats)": lambda run: float(np.mean(run["rewards"])),  # higher if it learns sooner
}


def train(name: str, seed: int, folder: Path, args, environment: dict[str, str]) -> None:
    """Train one policy if it is not there yet."""
    kind, _ = TRAINERS[name]
    if has_ended(folder / kind):
        return
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    minibatches, epochs = recipe["steps_per_generation"], recipe["num_iterations"]
    if kind == "trl":
        command = [sys.executable, "scripts/bench/bench_trl_ppo.py"]
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


def measured(name: str, seed: int, folder: Path, args) -> dict:
    """Held-out accuracies of one policy, and the mean reward of each of its rollouts."""
    kind, metric = TRAINERS.get(name, ("base", None))
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    prompts = read_prompts(folder / "data/heldout.jsonl", args.n)
    model = AutoModelForCausalLM.from_pretrained(folder / kind, dtype=torch.float32).eval()
    rows = {d: evaluate(name, model, tokenizer, prompts, d, seed) for d in ("sampled", "greedy")}
    row = {"name": name, "seed": seed} | rows
    if metric is None:
        return row
    history = json.loads((folder / kind / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    rewards = [entry[metric] for entry in history if metric in entry]
    if len(rewards) != args.rollouts:
        raise SystemExit(f"{folder / kind} was trained on {len(rewards)} rollouts: choose another --output")
    return row | {"rewards": rewards}


def differences(runs: list[dict]) -> list[dict]:
    """Of each two trainers, paired by seed: how much more of each measure the second has, mean and 95 % interval over
    seeds, in how many seeds it has more, and in how many the intervals of the accuracies overlap."""
    rows = []
    for first, second in combinations(TRAINERS, 2):
        pairs = list(zip(*([run for run in runs if run["name"] == name] for name in (first, second)), strict=True))
        spans = [(a["sampled"]["ci95"], b["sampled"]["ci95"]) for a, b in pairs]
        overlap = sum(a[0] <= b[1] and b[0] <= a[1] for a, b in spans)
        row = {"name": second, "over": first, "seeds": len(pairs), "accuracy intervals that overlap": overlap}
        for measure, of in MEASURES.items():
            more = [of(b) - of(a) for a, b in pairs]
            mean, low, high = student(more)
            row[measure] = {"mean": mean, "ci95": [low, high], "higher": sum(x > 0 for x in more)}
        rows.append(row)
    return rows


def markdown(runs: list[dict], found: list[dict]) -> str:
    """A row for each policy, then one for each two trainers."""
    policies = []
    for run in runs:
        spans = [with_interval(run[d]["accuracy"], *run[d]["ci95"]) for d in ("sampled", "greedy")]
        policies.append([run["name"], run["seed"], *spans, f"{run['sampled']['mean_tokens']:.2f}"])
    pairs = []
    for row in found:
        measures, n = [row[measure] for measure in MEASURES], row["seeds"]
        spans = [f"{with_interval(d['mean'], *d['ci95'], '+.3f')}, higher in {d['higher']} of {n}" for d in measures]
        pairs.append([f"{row['name']} over {row['over']}", *spans, f"{row['accuracy intervals that overlap']} of {n}"])
    first = markdown_table(["policy", "seed", "sampled", "greedy", "tokens"], policies)
    second = markdown_table(["paired by seed", *MEASURES, "accuracy intervals that overlap"], pairs)
    return f"{first}\n{second}"


def committed_table() -> str:
    """The README's tables, from results/results.json."""
    report = json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))
    return markdown(report["runs"], report["differences"])


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
    """Command line entry: bases, trainings, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/compare_trl_ppo"), help="folder for everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rollouts", type=int, default=120, help="of each run")
    parser.add_argument("--base_steps", type=int, default=700, help="training steps of each seed's base")
    parser.add_argument("--fields", type=json.loads, default={}, help="more settings of TRL's PPOConfig, as JSON")
    parser.add_argument("--n", type=int, default=2000, help="held-out prompts")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args()
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    args.output = args.output.resolve()
    os.chdir(ROOT)
    torch.set_num_threads(1)
    environment, folders = legacy_environment(), {seed: args.output / f"seed{seed}" for seed in args.seeds}

    for seed, folder in tqdm(folders.items(), desc="bases"):
        if not (folder / "base/tokenizer.json").is_file():  # written last
            command = [sys.executable, "scripts/experiments/arithmetic/make_base.py", "--output", str(folder / "base")]
            run_stage([*command, "--seed", str(seed), "--steps", str(args.base_steps)], folder / "base.txt")
    jobs = [(name, seed) for seed in args.seeds for name in TRAINERS]
    with ThreadPoolExecutor(args.jobs) as pool:
        done = pool.map(lambda job: train(*job, folders[job[1]], args, environment), jobs)
        list(tqdm(done, total=len(jobs), desc="training"))
    runs = [measured(name, seed, folders[seed], args) for name in ("base", *TRAINERS) for seed in args.seeds]

    found = differences(runs)
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    batch = recipe["steps_per_generation"] * recipe["per_device_train_batch_size"]
    draw(runs, batch, args.output / "compare_trl_ppo.png")
    settings = {key: value for key, value in vars(args).items() if key not in ("output", "jobs", "write_readme")}
    report = {"runs": runs, "differences": found, "recipe": recipe} | record(settings)
    (args.output / "results.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(runs, found)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nWrote results.json, results.md and compare_trl_ppo.png to {args.output}")


if __name__ == "__main__":
    main()
