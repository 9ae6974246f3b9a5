"""Rewards side by side: the demo's base trained with each of them for the same number of steps, over several seeds.

Every run is one of the entry scripts, through `accelerate launch`, with the demo's recipe and another reward. Writes
results.json, results.md and compare_rewards.png. Killed and started again, it goes on. About an hour on two cores.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import yaml
from reward_table import draw, markdown, measure, summarise
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards import FrozenBase
from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from rewards.reporting.tables import write_between
from train.checkpoints import has_ended
from train.tasks.arithmetic_evaluation import evaluate, read_prompts

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
LABEL, TENTH = "train.tasks.arithmetic.demo_accuracy", "train.tasks.arithmetic.tenth_accuracy"
ROWS = {  # name: algorithm, rewards of its recipe, other fields
    "EndoRM dense": ("ppo", [{"name": "endorm"}], {}),
    "EndoRM terminal": ("ppo", [{"name": "endorm"}], {"reward_placement": "terminal"}),
    "EndoRM GRPO": ("grpo", [{"name": "endorm"}], {}),
    "mean log-likelihood": ("grpo", [{"name": "mean_log_likelihood"}], {}),
    "self-certainty": ("grpo", [{"name": "self_certainty"}], {}),
    "self-certainty, online": ("grpo", [{"name": "self_certainty", "online": True}], {}),
    "negative entropy": ("grpo", [{"name": "negative_entropy"}], {}),
    "negative entropy, online": ("grpo", [{"name": "negative_entropy", "online": True}], {}),
    "majority vote": ("grpo", [{"name": "majority_vote", "extract": r"^\d{3}(\d)$"}], {}),
    "accuracy labels": ("grpo", [{"name": LABEL, "as": "label"}], {}),
    "format only": ("grpo", [{"name": "format_only", "pattern": r"^\d{4}$"}], {}),
    "random": ("grpo", [{"name": "random"}], {}),
    "constant": ("grpo", [{"name": "constant"}], {}),
    "EndoRM dense + 10 % labels": ("ppo", [{"name": "endorm"}, {"name": TENTH, "weight": 4.0}], {}),
}
# Training goes on from another row's policy: as its own frozen base and so its own reward (section 3.3 of the paper),
# and as the control of that, as long again under the reward of the first base.
CONTINUED = {"EndoRM dense, second round": "EndoRM dense", "EndoRM dense, as long again": "EndoRM dense"}
FIRST_BASE = ("EndoRM dense, as long again",)
NAMES = ", ".join([*ROWS, *CONTINUED]).replace("%", "%%")


def run_folder(folder: Path, name: str | None) -> Path:
    """Where the policy of a row is, of None the base."""
    return folder / (name or "base").replace(" ", "_").replace(",", "").replace("%", "pct")


def train(name: str, seed: int, folder: Path, steps: int) -> Path:
    """The folder of one run, trained if it is not there yet."""
    first = CONTINUED.get(name)
    algorithm, rewards, fields = ROWS[first or name]
    output = run_folder(folder, name)
    if has_ended(output):
        return output
    recipe = yaml.safe_load(Path(f"configs/demo/{algorithm}.yaml").read_text(encoding="utf-8"))
    recipe = {k: v for k, v in recipe.items() if k not in ("reward_funcs", "reward_weights")} | fields
    recipe |= {
        "rewards": [*rewards, {"name": LABEL, "weight": 0.0}],  # accuracy is logged
        "model_name_or_path": str(run_folder(folder, first)),
        "dataset_name": str(folder / "data/train.jsonl"),
        "output_dir": str(output),
        "seed": seed,
        "max_steps": steps,
    }
    if name in FIRST_BASE:
        recipe["frozen_base"] = str(folder / "base")
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    command = [*LAUNCH_ONE, f"train/{algorithm}_endorm.py", "--config", str(output / "recipe.yaml")]
    run_stage(command, output / "log.txt")
    return output


def measured(name: str, seed: int, folder: Path, output: Path, n: int) -> dict:
    """One run's row."""
    load, base_folder = {"dtype": torch.float32}, folder / "base"
    tokenizer, prompts = AutoTokenizer.from_pretrained(base_folder), read_prompts(folder / "data/heldout.jsonl", n)
    policy = AutoModelForCausalLM.from_pretrained(output, **load).eval()
    base = FrozenBase(AutoModelForCausalLM.from_pretrained(base_folder, **load))
    row = measure(name, policy, base, tokenizer, prompts, seed)
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    key = "rewards/demo_accuracy/mean"
    return row | {"steps": [h["step"] for h in history if key in h], "accuracy": [h[key] for h in history if key in h]}


def committed_table() -> str:
    """The README's table, from results/results.json."""
    report = json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))
    return markdown(report["rows"], report["controls"]["low_temperature"])


def make_bases(folders: dict[int, Path], args: argparse.Namespace) -> list[dict]:
    """The base of each seed, trained if it is not there yet: what `measure` says of it, and its accuracy when cold."""
    bases = []
    for seed, folder in tqdm(folders.items(), desc="bases"):
        base, data = folder / "base", folder / "data"
        if not (base / "tokenizer.json").is_file():  # written last
            command = [sys.executable, "scripts/experiments/arithmetic/make_base.py", "--output", str(base)]
            command += ["--data_dir", str(data), "--seed", str(seed), "--steps", str(args.base_steps)]
            run_stage(command, folder / "base.txt")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        tokenizer, prompts = AutoTokenizer.from_pretrained(base), read_prompts(data / "heldout.jsonl", args.n)
        cold = evaluate("base", model, tokenizer, prompts, "low_temperature", seed)["accuracy"]
        row = measure("base", model, FrozenBase(model), tokenizer, prompts, seed)
        bases.append(row | {"low_temperature": cold})
    return bases


def main() -> None:
    """Command line entry: bases, trainings, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/compare_rewards"), help="folder for everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rewards", nargs="+", default=list(ROWS), metavar="NAME", help=f"rows: {NAMES}")
    parser.add_argument("--steps", type=int, default=480, help="training steps of each run")
    parser.add_argument("--base_steps", type=int, default=700, help="training steps of each seed's base")
    parser.add_argument("--n", type=int, default=2000, help="held-out prompts")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args()
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    for name in args.rewards:
        if name not in (*ROWS, *CONTINUED) or CONTINUED.get(name, name) not in args.rewards:
            parser.error(f"no row {name!r}, or one that goes on from a row that is not there; rows are {NAMES}")
    os.chdir(ROOT)
    made = record({k: v for k, v in vars(args).items() if k not in ("output", "write_readme")})
    start, folders = time.perf_counter(), {seed: args.output / f"seed{seed}" for seed in args.seeds}
    torch.set_num_threads(1)

    bases = make_bases(folders, args)
    todo = [(name, seed) for seed in args.seeds for name in args.rewards]
    todo.sort(key=lambda job: job[0] in CONTINUED)
    firsts = [job for job in todo if job[0] not in CONTINUED]
    outputs = []
    for jobs in (firsts, todo[len(firsts) :]):
        with ThreadPoolExecutor(args.jobs) as pool:
            trained = pool.map(lambda job: train(*job, folders[job[1]], args.steps), jobs)
            outputs += tqdm(trained, total=len(jobs), desc="training", disable=not jobs)
    runs = {}  # one after the other: neither seeds nor the loading of models know threads
    for (name, seed), output in zip(tqdm(todo, desc="held out"), outputs):
        runs[name, seed] = measured(name, seed, folders[seed], output, args.n)

    results = {name: [runs[name, seed] for seed in args.seeds] for name in args.rewards}
    starts = {name: results[first] for name, first in CONTINUED.items() if name in results}
    rows = summarise({"base": bases} | results, bases, starts)
    controls = {d: [b[d] for b in bases] for d in ("sampled", "greedy", "low_temperature")}
    curves = {n: (r[0]["steps"], np.mean([x["accuracy"] for x in r], axis=0).tolist()) for n, r in results.items()}
    draw(rows[1:], controls, curves, args.output / "compare_rewards.png")
    report = {
        "rows": rows,
        "controls": controls,
        "runs": [{"name": n, "seed": s} | {k: v for k, v in r.items() if k != "steps"} for (n, s), r in runs.items()],
        "recipes": {name: {"algorithm": a, "rewards": r} | f for name, (a, r, f) in ROWS.items()},
        "seconds_of_this_start": time.perf_counter() - start,
    } | made
    (args.output / "results.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(rows, controls["low_temperature"])
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nWrote results.json, results.md and compare_rewards.png to {args.output}")


if __name__ == "__main__":
    main()
