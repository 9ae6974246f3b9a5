"""A real chat model improves itself: EndoRM and other rewards on SmolLM2-135M-Instruct, over seeds, beside controls.

    python scripts/get_model.py --output outputs/SmolLM2-135M-Instruct
    python scripts/experiments/self_improvement/self_improvement.py --tasks capitals --seeds 0

Each run is an entry script through `accelerate launch`, takes about five minutes of two cores and ends as one JSON
file in OUTPUT/runs. A run that has its file is not made again: killed and started again, the experiment goes on.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rewards.reporting.intervals import bootstrap_mean, student
from rewards.reporting.record import record
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.chat_runs import ChatRun, make_run, measure
from train.tasks.chat_tasks import TASKS

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
RUNS = {
    run.name: run
    for run in (
        ChatRun("EndoRM PPO"),
        ChatRun("EndoRM GRPO", algorithm="grpo"),
        ChatRun("labels GRPO", [{"name": "accuracy"}], "grpo"),
        ChatRun("majority vote GRPO", [{"name": "majority"}], "grpo"),
        ChatRun("mean log-likelihood GRPO", [{"name": "mean_log_likelihood"}], "grpo"),
        ChatRun("format only GRPO", [{"name": "format"}], "grpo"),
        ChatRun("random GRPO", [{"name": "random"}], "grpo"),
        ChatRun("labels PPO", [{"name": "accuracy"}]),
        ChatRun("random PPO", [{"name": "random"}]),
    )
}
BASE = "base"


def make_base(task: str, seed: int, args: argparse.Namespace) -> dict:
    """The base's own file: the same questions and the same seeds of the sampling as the runs'."""
    file = args.output / "runs" / f"{task}_{BASE}_seed{seed}.json"
    if not file.is_file():
        data = args.output / "data" / task
        if not (data / "heldout.jsonl").is_file():
            TASKS[task].write_splits(data)
        found = measure(BASE, args.model, task, data, args.output / f"{task}_{BASE}_seed{seed}", seed, args.dtype)
        facts = {"name": BASE, "task": task, "seed": seed, "model": str(args.model), **found} | record()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def cell(run: Mapping, side: str, decoding: str, value: str = "accuracy"):
    """One figure of a run's file."""
    return next(row[value] for row in run[side] if row["decoding"] == decoding)


def over_seeds(runs: Sequence[Mapping], side: str, decoding: str) -> str:
    """Mean accuracy with an interval: over seeds where there are several, else of the questions."""
    values = [cell(run, side, decoding) for run in runs]
    if len(values) > 1:
        return with_interval(*student(values))
    return with_interval(values[0], *cell(runs[0], side, decoding, "ci95"))


def gain(runs: Sequence[Mapping], bases: Sequence[Mapping], decoding: str, over: str) -> tuple[float, float, float]:
    """Held-out accuracy of runs minus that of their bases, paired by question, with a bootstrap over questions."""
    pairs = [
        (cell(r, "heldout", decoding, "per_question"), cell(b, "heldout", over, "per_question"))
        for r, b in zip(runs, bases, strict=True)
    ]
    mean, ends = bootstrap_mean(np.mean([np.subtract(*pair) for pair in pairs], axis=0)[:, None])
    return float(mean[0]), float(ends[0, 0]), float(ends[0, 1])


def committed_table() -> str:
    """The README's tables, one a task, from the files in results/."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*_seed*.json"))]
    return "\n".join(
        f"### {task.replace('_', ' ').capitalize()}\n\n{task_table(task, files)}"
        for task in TASKS
        if any(run["task"] == task for run in files)
    )


def task_table(task: str, files: Sequence[Mapping]) -> str:
    """A row for each reward of one task; differences are from the base with the same seed of the sampling."""
    bases = {run["seed"]: run for run in files if run["task"] == task and run["name"] == BASE}
    rows = []
    for name in (BASE, *RUNS):
        runs = [run for run in files if run["task"] == task and run["name"] == name and run["seed"] in bases]
        if not runs:
            continue
        accuracies = [over_seeds(runs, "heldout", d) for d in ("sampled", "low_temperature", "greedy")]
        trained = [over_seeds(runs, "train", d) for d in ("sampled", "greedy")]
        own = [bases[run["seed"]] for run in runs]
        differences = [
            with_interval(*gain(runs, own, *pair), "+.3f") for pair in (("greedy", "greedy"), ("sampled", "greedy"))
        ]
        looks = [
            np.mean([cell(run, "heldout", "sampled", key) for run in runs])
            for key in ("mean_tokens", "ended", "first_sentence")
        ]
        kl = [run["curves"]["kl"][1][-1] for run in runs if "kl" in run.get("curves", {})]
        last = f"{np.mean(kl):.2f}" if kl else ""
        rows.append(
            [
                name,
                len(runs),
                *accuracies,
                *(differences if name != BASE else ["", ""]),
                *trained,
                *(f"{x:.2f}" for x in looks),
                last,
            ]
        )
    headings = ["reward", "seeds", "sampled", "T = 0.3", "greedy", "greedy − base's greedy", "sampled − base's greedy"]
    headings += ["sampled, trained", "greedy, trained", "tokens", "ended", "first sentence", "KL a token"]
    return markdown_table(headings, rows)


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("outputs/SmolLM2-135M-Instruct"), help="folder or hub name")
    parser.add_argument("--output", type=Path, default=Path("outputs/self_improvement"), help="folder for everything")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--rollouts", type=int, default=16, help="of 64 responses, in each run")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of evaluation's weights")
    parser.add_argument("--keep_models", action="store_true", help="keep the trained weights, half a gigabyte a run")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args()
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    os.chdir(ROOT)
    jobs = [(task, name, seed) for task in args.tasks for seed in args.seeds for name in (BASE, *args.runs)]
    files = []
    for task, name, seed in tqdm(jobs, desc="runs"):
        if name == BASE:
            files.append(make_base(task, seed, args))
        else:
            how = (args.rollouts, args.model, args.output, args.dtype, args.keep_models)
            files.append(make_run(RUNS[name], task, seed, *how))
    text = "\n".join(f"{task}\n\n{task_table(task, files)}" for task in args.tasks)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\nOne JSON file a run in {args.output / 'runs'}, and results.md beside it")


if __name__ == "__main__":
    main()
