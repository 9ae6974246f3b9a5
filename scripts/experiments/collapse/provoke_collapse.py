"""Two collapses of the demo task, provoked on purpose, and whether the watches flag them in time.

Each is trained twice from the same base and seed: with `watch: warn`, to see where it goes, and with `watch: stop`, to
see what is kept. Writes results.json, results.md and collapse.png. About 14 minutes on two cores.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import yaml
from matplotlib.figure import Figure
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.reporting.record import record
from rewards.reporting.stages import LAUNCH_ONE, run_stage
from rewards.reporting.tables import markdown_table, write_between
from train.tasks.arithmetic_evaluation import evaluate, read_prompts

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
METRIC = "eval_rewards/demo_accuracy/mean"
LABEL = "train.tasks.arithmetic.demo_accuracy"
COLLAPSES = {  # name: the base, what differs from configs/demo/ppo.yaml, and why it goes wrong
    # a price for tokens that grows: one digit, which a tenth of the demonstrations stop at, is cheaper than four
    "short answers": (
        "lazy_base",
        {
            "rewards": [
                {"name": "endorm"},
                {"name": "length", "weight": -2.0, "anneal": [0.0, 1.0, 240]},
                {"name": LABEL, "weight": 0.0},
            ],
            "lr_scheduler_type": "constant",
        },
    ),
    # a reward that is hacked late: more and more weight for confidence, which long wrong responses have most of
    "late over-optimisation": (
        "base",
        {
            "rewards": [
                {"name": "endorm"},
                {"name": "self_certainty", "weight": 20.0, "anneal": [0.0, 1.0, 300]},
                {"name": LABEL, "weight": 0.0},
            ],
            "lr_scheduler_type": "constant",
        },
    ),
}
BASES = {"base": [], "lazy_base": ["--lazy", "0.1"]}


def run(name: str, action: str, folder: Path, args) -> dict:
    """One training through the entry script, and what it left behind."""
    recipe = yaml.safe_load(Path("configs/demo/ppo.yaml").read_text(encoding="utf-8"))
    output = folder / f"{name.replace(' ', '_')}_{action}"
    base, changes = COLLAPSES[name]
    if "rewards" in changes:
        recipe = {k: v for k, v in recipe.items() if k not in ("reward_funcs", "reward_weights")}
    recipe |= changes | {
        "model_name_or_path": str(folder / base),
        "dataset_name": str(folder / "data/train.jsonl"),
        "heldout_name": str(folder / "data/heldout.jsonl"),
        "max_heldout_samples": args.heldout,
        "per_device_eval_batch_size": args.heldout,
        "eval_strategy": "steps",
        "eval_steps": 4,  # a rollout
        "metric_for_best_model": METRIC.removeprefix("eval_"),
        "save_strategy": "best",
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "watch": action,
        "max_steps": args.steps,
        "seed": args.seed,
        "output_dir": str(output),
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    command = [*LAUNCH_ONE, "train/ppo_endorm.py", "--config", str(output / "recipe.yaml")]
    run_stage(command, output / "log.txt")
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    watches = output / "watches.jsonl"
    return {
        "accuracy": [(row["step"], row[METRIC]) for row in history if METRIC in row],
        "length": [
            (row["step"], row["completions/mean_length"]) for row in history if "completions/mean_length" in row
        ],
        "tripped": [json.loads(line) for line in watches.read_text().splitlines()] if watches.is_file() else [],
        "folder": str(output),
    }


def summary(name: str, watched: dict, stopped: dict, kept: float) -> dict:
    """The figures that say whether a collapse was flagged in time, and what was kept."""
    best_step, best = max(watched["accuracy"], key=lambda point: point[1])
    flag = watched["tripped"][0] if watched["tripped"] else None
    seen = [a for step, a in watched["accuracy"] if flag and step <= flag["step"]]
    lost = max((max(seen[: i + 1]) - a for i, a in enumerate(seen)), default=None)
    return {
        "name": name,
        "base": COLLAPSES[name][0],
        "settings": COLLAPSES[name][1],
        "best": best,
        "best_step": best_step,
        "last": watched["accuracy"][-1][1],
        "flagged": flag,
        "lost_when_flagged": lost,
        "stopped_at": stopped["accuracy"][-1][0] if stopped["accuracy"] else None,
        "best_until_stopped": max(a for _, a in stopped["accuracy"]),
        "kept": kept,
    }


def table(rows: list[dict]) -> str:
    """The rows of `summary` as a Markdown table."""
    lines = []
    for r in rows:
        flag = f"{r['flagged']['watch']}, step {r['flagged']['step']}" if r["flagged"] else "none"
        lost = "–" if r["lost_when_flagged"] is None else f"{r['lost_when_flagged']:.3f}"
        best = f"{r['best']:.3f} (step {r['best_step']})"
        lines.append([r["name"], best, f"{r['last']:.3f}", flag, lost, f"{r['kept']:.3f}"])
    headings = ["collapse", "best held-out accuracy", "at the end", "first watch to trip", "lost by then"]
    return markdown_table([*headings, "policy kept with `watch: stop`"], lines)


def committed_table() -> str:
    """The README's table, from results/results.json."""
    return table(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["rows"])


def draw(runs: dict, rows: list[dict], path: Path) -> None:
    """Held-out accuracy and response length of each collapse over the steps, with the watches that tripped."""
    figure = Figure(figsize=(5.5 * len(rows), 4), layout="constrained")
    for axis, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows):
        axis.plot(*zip(*runs[row["name"]]["accuracy"]), label="held-out accuracy")
        twin = axis.twinx()
        twin.plot(*zip(*runs[row["name"]]["length"]), color="tab:orange", lw=0.8, label="tokens")
        twin.set_ylabel("mean response length (tokens)")
        for sign in runs[row["name"]]["tripped"]:
            axis.axvline(sign["step"], color="tab:red", ls=":", lw=1)
            axis.text(sign["step"], 0.02, sign["watch"], rotation=90, fontsize=7, color="tab:red")
        axis.set_title(row["name"])
        axis.set_xlabel("step")
        axis.set_ylim(0, 1.02)
        axis.legend(loc="center right", fontsize=8)
    figure.savefig(path, dpi=120)


def make_bases(folder: Path, args: argparse.Namespace) -> None:
    """Train the two bases that are not there yet."""
    for name, changes in BASES.items():
        if (folder / name / "tokenizer.json").is_file():  # written last
            continue
        command = [sys.executable, "scripts/experiments/arithmetic/make_base.py", "--output", str(folder / name)]
        command += ["--data_dir", str(folder / "data"), "--seed", str(args.seed), "--steps", str(args.base_steps)]
        run_stage([*command, "--n_heldout", str(2 * args.heldout), *changes], folder / f"{name}.txt")


def main() -> None:
    """Command line entry: bases, trainings, then the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/collapse"), help="folder for everything")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=360, help="of each training")
    parser.add_argument("--base_steps", type=int, default=700, help="training steps of the base")
    parser.add_argument(
        "--heldout", type=int, default=2000, help="held-out prompts of an evaluation, and as many more at the end"
    )
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args()
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    os.chdir(ROOT)
    start, made = time.perf_counter(), record()
    torch.set_num_threads(1)
    make_bases(args.output, args)
    jobs = [(name, action) for name in COLLAPSES for action in ("warn", "stop")]
    with ThreadPoolExecutor(args.jobs) as pool:
        done = dict(zip(jobs, pool.map(lambda job: run(*job, args.output, args), jobs)))

    tokenizer = AutoTokenizer.from_pretrained(args.output / "base")
    # those that chose no checkpoint
    prompts = read_prompts(args.output / "data/heldout.jsonl", 2 * args.heldout)[args.heldout :]
    rows, runs = [], {}
    for name in COLLAPSES:
        watched, stopped = done[name, "warn"], done[name, "stop"]
        model = AutoModelForCausalLM.from_pretrained(stopped["folder"], dtype=torch.float32).eval()
        kept = evaluate(name, model, tokenizer, prompts, "sampled", args.seed)["accuracy"]
        rows.append(summary(name, watched, stopped, kept))
        runs[name] = watched
    draw(runs, rows, args.output / "collapse.png")
    report = {"rows": rows, "runs": runs, "seconds": time.perf_counter() - start} | made
    (args.output / "results.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = table(rows)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nWrote results.json, results.md and collapse.png to {args.output}")


if __name__ == "__main__":
    main()
