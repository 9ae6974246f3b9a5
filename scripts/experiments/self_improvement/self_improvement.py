"""A real chat model improves itself: EndoRM and other rewards on SmolLM2-135M-Instruct, over seeds, beside controls.

    python scripts/get_model.py --output outputs/SmolLM2-135M-Instruct
    python scripts/experiments/self_improvement/self_improvement.py --tasks capitals --seeds 0

Each run is an entry script through `accelerate launch`, takes about eight minutes of two cores and ends as one JSON
file in OUTPUT/runs. A run that has its file is not made again: killed and started again, the experiment goes on.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.chat_evaluation import MAJORITY
from train.tasks.chat_runs import BASE, ChatRun, add_arguments, make_runs
from train.tasks.chat_tables import draw_curves, gain, mean_of, over_seeds, verdict
from train.tasks.chat_tasks import TASKS

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
RUNS = {
    run.name: run
    for run in (
        ChatRun("EndoRM PPO"),
        ChatRun("EndoRM GRPO", algorithm="grpo"),
        ChatRun("labels GRPO", [{"name": "accuracy"}], "grpo"),
        ChatRun("labels GRPO, dynamic sampling", [{"name": "accuracy"}], "grpo", {"dynamic_sampling": 4}),
        ChatRun("majority vote GRPO", [{"name": "majority"}], "grpo"),
        ChatRun("mean log-likelihood GRPO", [{"name": "mean_log_likelihood"}], "grpo"),
        ChatRun("format only GRPO", [{"name": "format"}], "grpo"),
        ChatRun("random GRPO", [{"name": "random"}], "grpo"),
        ChatRun("labels PPO", [{"name": "accuracy"}]),
        ChatRun("random PPO", [{"name": "random"}]),
    )
}


def committed() -> list[dict]:
    """The files in results/."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*_seed*.json"))]


def committed_table() -> str:
    """The README's tables, two a task, from the files in results/."""
    files = committed()
    tasks = [task for task in TASKS if any(run["task"] == task for run in files)]
    return "\n".join(f"### {task.replace('_', ' ').capitalize()}\n\n{task_tables(task, files)}" for task in tasks)


def task_tables(task: str, files: Sequence[Mapping]) -> str:
    """Accuracies on held-out questions, and what else there is to know, a row for each reward of one task.
    Differences are from the base with the same seed of the sampling."""
    bases = {run["seed"]: run for run in files if run["task"] == task and run["name"] == BASE}
    accuracies, looks = [], []
    for name in (BASE, *RUNS):
        runs = [run for run in files if run["task"] == task and run["name"] == name and run["seed"] in bases]
        if not runs:
            continue
        own = [bases[run["seed"]] for run in runs]
        row = [name, len(runs), *(over_seeds(runs, "heldout", d) for d in ("sampled", "low_temperature", "greedy"))]
        row += [over_seeds(runs, "heldout", MAJORITY)]
        differences = [with_interval(*gain(runs, own, d, d), "+.3f") for d in ("sampled", "greedy")]
        accuracies.append([*row, *(["", "", ""] if name == BASE else [*differences, verdict(runs, own)])])
        row = [name, *(over_seeds(runs, "train", d) for d in ("sampled", "greedy"))]
        for key, form in (
            ("first_sentence", ".3f"),
            ("right_of_ended", ".3f"),
            ("mean_tokens", ".1f"),
            ("ended", ".2f"),
        ):
            row.append(format(mean_of(runs, key), form))
        kl = [run["curves"]["kl"][1][-1] for run in runs if "kl" in run.get("curves", {})]
        looks.append([*row, f"{np.mean(kl):.2f}" if kl else ""])
    headings = ["held-out questions", "seeds", "sampled", "T = 0.3", "greedy", MAJORITY]
    first = markdown_table([*headings, "sampled − base", "greedy − base", "verdict"], accuracies)
    headings = ["", "trained questions, sampled", "trained questions, greedy", "held out, first sentence alone"]
    headings.append("held out, of those that ended")
    return first + "\n" + markdown_table([*headings, "tokens", "ended", "KL, nats a token"], looks)


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, RUNS, "outputs/self_improvement", seeds=(0, 1, 2))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    args = parser.parse_args()
    if args.write_readme:
        write_between(README, "results", committed_table())
        files = [file for file in committed() if file["task"] == "capitals"]
        draw_curves({n: [f for f in files if f["name"] == n] for n in RUNS}, RESULTS / "capitals.png")
        return
    os.chdir(ROOT)
    files = make_runs(RUNS, args.tasks, args)
    text = "\n".join(f"{task}\n\n{task_tables(task, files)}" for task in args.tasks)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    for task in args.tasks:
        curves = {name: [f for f in files if f["task"] == task and f["name"] == name] for name in args.runs}
        draw_curves(curves, args.output / f"{task}.png")
    print(f"{text}\n{args.output}: results.md, TASK.png, and one JSON file a run in runs/")


if __name__ == "__main__":
    main()
