"""What follows a first round of self-improvement on a real chat model: a second one, a teacher, a criterion.

    python scripts/get_model.py --output outputs/SmolLM2-135M-Instruct
    python scripts/experiments/rounds/rounds.py --seeds 0

Each run is PPO with EndoRM by the recipe of the demo, takes about five minutes of two cores and ends as one JSON file
in OUTPUT/runs. A run that has its file is not made again: killed and started again, the experiment goes on. The first
round's weights are kept, half a gigabyte a seed, since the others start from them or learn from them.
"""

import argparse
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.chat_runs import BASE, ChatRun, make_base, make_run, run_label
from train.tasks.chat_tables import gain, mean_of, over_seeds, verdict
from train.tasks.chat_tasks import TASKS

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
FIRST = "first round"
BRIEF = "Answer with a single word."
POLITE = "You are very polite. Thank the user for the question, and offer more help."
RUNS = {  # name: the reward's settings, where it starts, whose copy is frozen (None: its own start)
    FIRST: ({}, BASE, None),
    "second round": ({}, FIRST, None),
    "as long again": ({}, FIRST, BASE),
    "improved teacher": ({}, BASE, FIRST),
    "criterion: brief": ({"system_prompt": BRIEF}, BASE, None),
    "criterion: polite": ({"system_prompt": POLITE}, BASE, None),
}
COURTESY = re.compile(r"\b(?:please|thank(?:s| you)?|glad|happy to|pleasure|welcome|kindly|dear)\b", re.IGNORECASE)


def made(name: str, seed: int, args: argparse.Namespace) -> dict:
    """The file of one run, made if it is not there yet."""
    settings, start, frozen = RUNS[name]
    places = {BASE: args.model, FIRST: args.output / run_label(FIRST, args.task, seed) / "policy"}
    fields = {} if frozen is None else {"frozen_base": str(places[frozen])}
    run = ChatRun(name, [{"name": "endorm", **settings}], fields=fields)
    return make_run(run, args.task, seed, args.rollouts, places[start], args.output, args.dtype, keep=name == FIRST)


def polite(folder: Path) -> float:
    """The share of the sampled held-out responses in a run's folder with a word of courtesy."""
    lines = (folder / "sampled.jsonl").read_text(encoding="utf-8").splitlines()
    return float(np.mean([bool(COURTESY.search(json.loads(line)["text"])) for line in lines]))


def with_style(file: Mapping, folder: Path) -> dict:
    """A run's file with the share of polite samples, which is read from the samples once and kept in it."""
    return {**file, "polite": file["polite"] if "polite" in file else polite(folder)}


def committed_table() -> str:
    """The README's table, from the files in results/."""
    return table([json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*_seed*.json"))])


def table(files: Sequence[Mapping]) -> str:
    """A row for each run; differences are from the policy that it started from, paired by question."""
    found = {(run["name"], run["seed"]): run for run in files}
    rows = []
    for name in (BASE, *RUNS):
        start = BASE if name == BASE else RUNS[name][1]
        seeds = [seed for n, seed in found if n == name and (start, seed) in found]
        if not seeds:
            continue
        runs, starts = ([found[n, seed] for seed in seeds] for n in (name, start))
        row = [name, len(runs), *(over_seeds(runs, "heldout", decoding) for decoding in ("sampled", "greedy"))]
        row += [format(mean_of(runs, "mean_tokens"), ".1f"), format(mean_of(runs, "ended"), ".2f")]
        row.append(format(np.mean([run["polite"] for run in runs]), ".2f"))
        differences = [with_interval(*gain(runs, starts, d, d), "+.3f") for d in ("sampled", "greedy")]
        rows.append([*row, *(["", "", ""] if name == BASE else [start, *differences])])
        rows[-1].append("" if name == BASE else verdict(runs, starts))
    headings = ["", "seeds", "sampled", "greedy", "tokens", "ended", "polite", "starts from"]
    return markdown_table([*headings, "sampled − start", "greedy − start", "verdict"], rows)


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("outputs/SmolLM2-135M-Instruct"), help="folder or hub name")
    parser.add_argument("--output", type=Path, default=Path("outputs/rounds"), help="folder for everything")
    parser.add_argument("--task", choices=TASKS, default="capitals")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rollouts", type=int, default=10, help="of 64 responses, in each run")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of evaluation's weights")
    parser.add_argument("--write_readme", action="store_true", help="only write the table of results/ to the README")
    args = parser.parse_args()
    if args.write_readme:
        write_between(README, "results", committed_table())
        return
    os.chdir(ROOT)
    files = []
    for name, seed in tqdm([(name, seed) for seed in args.seeds for name in (BASE, *RUNS)], desc="runs"):
        label = run_label(name, args.task, seed)
        if name == BASE:
            file, samples = make_base(args.task, seed, args.model, args.output, args.dtype), label
        else:
            file, samples = made(name, seed, args), f"{label}/samples"
        files.append(with_style(file, args.output / samples / "heldout"))
        text = json.dumps(files[-1]) + "\n"
        (args.output / "runs" / f"{label}.json").write_text(text, encoding="utf-8")
    text = table(files)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\n{args.output}: results.md, and one JSON file a run in runs/")


if __name__ == "__main__":
    main()
