"""The settings that the paper leaves unsaid, one at a time, on a real chat model: which learn, and which collapse.

    python scripts/get_model.py --output outputs/SmolLM2-135M-Instruct
    python scripts/experiments/settings/settings.py --seeds 0

Each run is PPO or GRPO with EndoRM by the recipe of the demo with one thing changed, takes about eight minutes of two
cores and ends as one JSON file in OUTPUT/runs. A run that has its file is not made again: killed and started again,
the experiment goes on.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.chat_runs import BASE, ChatRun, add_arguments, make_runs, run_label
from train.tasks.chat_tables import draw_curves, gain, mean_of, over_seeds, responses_until, verdict
from train.tasks.chat_tasks import TASKS

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
SHARED_RUNS = SCRIPT.parents[1] / "self_improvement/results"
FIRST = "EndoRM PPO"  # as the demo: dense, undiscounted sum of raw Q - V, KL 0.01, critic at 1e-3
SHARED = (BASE, FIRST, "EndoRM GRPO")  # runs of that experiment which are this one's too
TERMINAL = {"reward_placement": "terminal"}


def endorm(**settings) -> list[dict]:
    """EndoRM alone, with these settings and shaping."""
    return [{"name": "endorm", **settings}]


RUNS = {
    run.name: run
    for run in (
        ChatRun(FIRST),
        ChatRun("terminal", fields=TERMINAL),
        ChatRun("discount 0.95", endorm(discount=0.95)),
        ChatRun("discount 0.95, floor 0.1", endorm(discount=0.95, floor=0.1)),
        ChatRun("terminal, discount 0.95", endorm(discount=0.95), fields=TERMINAL),
        ChatRun("log-prob", endorm(form="logprob")),
        ChatRun("log-prob, terminal", endorm(form="logprob"), fields=TERMINAL),
        ChatRun("mean", endorm(reduce="mean")),
        ChatRun("terminal, mean", endorm(reduce="mean"), fields=TERMINAL),
        ChatRun("tokens clipped to 10", endorm(clip=10.0)),
        ChatRun("terminal, clipped to 10", endorm(clip=10.0), fields=TERMINAL),
        ChatRun("normalised by running moments", endorm(normalise="running")),
        ChatRun("terminal, normalised", endorm(normalise="running"), fields=TERMINAL),
        ChatRun("KL 0.1", fields={"kl_coef": 0.1}),
        ChatRun("critic's rate 1e-4", fields={"critic_learning_rate": 1e-4}),
        ChatRun("terminal, critic's rate 1e-4", fields=TERMINAL | {"critic_learning_rate": 1e-4}),
        ChatRun("learning rate 5e-5", fields={"learning_rate": 5e-5}),
        ChatRun("EndoRM GRPO", algorithm="grpo"),
        ChatRun("GRPO, mean", endorm(reduce="mean"), algorithm="grpo"),
        ChatRun("GRPO, log-prob", endorm(form="logprob"), algorithm="grpo"),
    )
}
SIDES = {"heldout": ("sampled", "greedy")}
LEARNT = 0.3  # accuracy of the rollouts from which a run counts as having learnt


def committed() -> list[dict]:
    """The files in results/, and base, first row and GRPO from those of self_improvement."""
    paths = sorted(RESULTS.glob("*_seed*.json"))
    seeds = sorted({path.stem.rpartition("_seed")[2] for path in paths})
    shared = [run_label(name, "capitals", int(seed)) for seed in seeds for name in SHARED]
    paths += [path for name in shared if (path := SHARED_RUNS / f"{name}.json").is_file()]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def committed_table() -> str:
    """The README's table, from the files in results/ and those that self_improvement has."""
    return table(committed())


def table(files: Sequence[Mapping]) -> str:
    """A row for each setting; differences are from the base and from the first setting, paired by question."""
    bases = {(run["task"], run["seed"]): run for run in files if run["name"] == BASE}
    first = {(run["task"], run["seed"]): run for run in files if run["name"] == FIRST}
    rows = []
    for name in (BASE, *RUNS):
        runs = [run for run in files if run["name"] == name]
        if not runs:
            continue
        own = [bases[run["task"], run["seed"]] for run in runs]
        row = [name, len(runs), *(over_seeds(runs, "heldout", decoding) for decoding in ("sampled", "greedy"))]
        for key, form in (("mean_tokens", ".1f"), ("ended", ".2f")):
            row.append(format(mean_of(runs, key), form))
        if name == BASE:
            rows.append([*row, *[""] * 7])
            continue
        kl = format(np.mean([run["curves"]["kl"][1][-1] for run in runs]), ".2f")
        explained = [run["curves"]["explained"][1] for run in runs if "explained" in run["curves"]]
        critic = " → ".join(format(np.mean([e[i] for e in explained]), ".2f") for i in (0, -1)) if explained else ""
        until = [responses_until(run, LEARNT) for run in runs]
        learnt = ", ".join("never" if n is None else str(n) for n in until)
        difference = with_interval(*gain(runs, own, "sampled", "sampled"), "+.3f")
        row += [kl, critic, learnt, difference, verdict(runs, own)]
        beside = [first[key] for run in runs if (key := (run["task"], run["seed"])) in first]
        if name == FIRST or len(beside) < len(runs):
            rows.append([*row, "", ""])
            continue
        rows.append([*row, *(with_interval(*gain(runs, beside, d, d), "+.3f") for d in ("sampled", "greedy"))])
    headings = ["setting", "seeds", "sampled", "greedy", "tokens", "ended", "KL, nats a token", "critic explains"]
    headings += [f"responses until {LEARNT}", "sampled − base", "verdict"]
    return markdown_table([*headings, "sampled − first row", "greedy − first row"], rows)


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, RUNS, "outputs/settings", seeds=(0,))
    parser.add_argument("--task", choices=TASKS, default="capitals")
    args = parser.parse_args()
    if args.write_readme:
        write_between(README, "results", committed_table())
        files = committed()
        draw_curves({n: [f for f in files if f["name"] == n] for n in RUNS}, RESULTS / "settings.png")
        return
    os.chdir(ROOT)
    files = make_runs(RUNS, [args.task], args, SIDES)
    text = table(files)
    (args.output / "results.md").write_text(text, encoding="utf-8")
    curves = {name: [f for f in files if f["name"] == name] for name in args.runs}
    draw_curves(curves, args.output / "settings.png")
    print(f"{text}\n{args.output}: results.md, settings.png, and one JSON file a run in runs/")


if __name__ == "__main__":
    main()
