"""Self-rewarding and problems of the policy's own: a chat model that judges itself, or asks itself, on capitals.

    python scripts/get_model.py --output outputs/SmolLM2-135M-Instruct
    python scripts/experiments/trained_judge/train_judge.py   # the judges of one row
    python scripts/experiments/self_rewarding/self_rewarding.py --seeds 0

Each run is an entry script through `accelerate launch` and ends as one JSON file in OUTPUT/runs. A run that has its
file is not made again: killed and started again, the experiment goes on.
"""

import argparse
import json
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rewards import GenerativeVerifier, PairwiseJudge, PointwiseJudge
from rewards.reporting.intervals import bootstrap_mean, student
from rewards.reporting.record import record
from rewards.reporting.tables import markdown_table, with_interval, write_between
from train.tasks.capitals import CAPITALS, question_of, split_countries
from train.tasks.chat_runs import BASE, ChatRun, add_arguments, make_base, make_run, run_label
from train.tasks.chat_tables import draw_curves, gain, mean_of, over_seeds, verdict
from train.tasks.judge_pairs import judge_template, sentence

SCRIPT = Path(__file__).resolve()
RESULTS, README, ROOT = SCRIPT.parent / "results", SCRIPT.with_name("README.md"), SCRIPT.parents[3]
SHARED_RUNS = SCRIPT.parents[1] / "self_improvement/results"
TASK = "capitals"
OTHERS = 2  # wrong capitals beside each right one, for the accuracy of a judge
PATTERN = r"What is the capital of [^?\n]{2,40}\?"
SHORT = {"eval_steps": 8}
SPREAD = SHORT | {"dynamic_sampling": 2}
REASONS = {"name": "pairwise_judge", "reason_tokens": 8, "dtype": "bfloat16"}
FROZEN_REASONS, TRAINED_REASONS = "frozen judge that reasons", "trained judge that reasons"
RUNS = {
    run.name: run
    for run in (
        ChatRun("frozen judge", [{"name": "generative_verifier"}], "grpo", SHORT),
        ChatRun("policy as judge", [{"name": "generative_verifier", "online": True}], "grpo", SHORT),
        ChatRun(FROZEN_REASONS, [REASONS], "grpo", SHORT),
        ChatRun(TRAINED_REASONS, [REASONS], "grpo", SHORT),
        ChatRun("given problems", [{"name": "majority"}], "grpo", SPREAD),
        ChatRun("problems of its own", [{"name": "majority"}], "grpo", SPREAD | {"own_problems": PATTERN}),
    )
}
SIDES = {"heldout": ("sampled", "greedy")}


def pairs(countries: Sequence[str], seed: int = 0) -> list[tuple[str, str, str]]:
    """A question, its right answer and a wrong one: `OTHERS` wrong ones for each country."""
    rng = random.Random(seed)
    rows = []
    for country in countries:
        for other in rng.sample([c for c in CAPITALS if c != country], OTHERS):
            rows.append((question_of(country), *(sentence(country, CAPITALS[of][0]) for of in (country, other))))
    return rows


def judge_accuracy(model: Path) -> dict:
    """How often a model as verifier holds a right answer for likelier to be good than a wrong one, equal ones half:
    {"accuracy", "ci95" (bootstrap over countries), "per_question", "yes"}, the last the mean P("Yes") of each kind."""
    judge = GenerativeVerifier.from_pretrained(str(model), dtype="bfloat16", form="prob")
    rows = pairs(split_countries()[1])
    asked = list(dict.fromkeys((row[0], answer) for row in rows for answer in row[1:]))  # a right answer once
    prompts = [[{"role": "user", "content": question}] for question, _ in asked]
    found = dict(zip(asked, judge.score(prompts, [answer for _, answer in asked])))
    right, wrong = (np.array([found[row[0], row[side]] for row in rows]) for side in (1, 2))
    won = ((right > wrong) + 0.5 * (right == wrong)).reshape(-1, OTHERS).mean(1)
    mean, ends = bootstrap_mean(won[:, None])
    return {
        "accuracy": float(mean[0]),
        "ci95": [float(x) for x in ends[0]],
        "per_question": won.tolist(),
        "yes": [float(right.mean()), float(wrong.mean())],
    }


def without_mark(model: Path, reason_tokens: int = 64) -> float:
    """Share of held-out right answers for which a model, asked for reasons and then a mark, writes no mark."""
    judge = PointwiseJudge.from_pretrained(str(model), dtype="bfloat16", reason_tokens=reason_tokens)
    countries = split_countries()[1]
    chats = [[{"role": "user", "content": question_of(country)}] for country in countries]
    marks = judge.score(chats, [sentence(country, CAPITALS[country][0]) for country in countries])
    return marks.count(None) / len(marks)


def reasoning_judge(model: Path, template: Path) -> dict:
    """How often a pairwise judge that writes its reasons prefers the right answer, a tie or no verdict half:
    {"accuracy", "unparsable"}, the latter of single questions. Pairs as for `judge_accuracy`, in both orders."""
    settings = {key: value for key, value in REASONS.items() if key != "name"}
    judge = PairwiseJudge.from_pretrained(str(model), template=template, **settings)
    questions, right, wrong = zip(*pairs(split_countries()[1]))
    verdicts = judge.compare([[{"role": "user", "content": question}] for question in questions], right, wrong)
    points = [{"first": 1.0, "second": 0.0}.get(str(verdict), 0.5) for verdict in verdicts]
    return {"accuracy": sum(points) / len(points), "unparsable": judge.unparsable / judge.asked}


def with_judge(run: ChatRun, args: argparse.Namespace, seed: int) -> ChatRun:
    """A run with the model that judges by writing, and what it reads: the base, or the judge trained with the seed."""
    if run.name not in (FROZEN_REASONS, TRAINED_REASONS):
        return run
    judge = args.model if run.name == FROZEN_REASONS else args.judges / f"grpo_seed{seed}"
    if judge != args.model and not (judge / "config.json").is_file():
        raise SystemExit(
            f"{judge} holds no model: train the judges with scripts/experiments/trained_judge/train_judge.py, name "
            "their folder with --judges, or choose other rows with --runs."
        )
    reward = run.rewards[0] | {"model": str(judge), "template": str(args.output / "template.json")}
    return replace(run, rewards=[reward])


def judged(run: dict, output: Path, model: Path) -> dict:
    """A run's file with the accuracy of its policy as a judge, that of the judge that writes if one paid it, and the
    watches that tripped; the policy's weights go."""
    folder = output / run_label(run["name"], TASK, run["seed"])
    if "judge" not in run:
        log = (folder / "log.txt").read_text(encoding="utf-8")
        run = run | {"judge": judge_accuracy(model), "watches": re.findall(r"Step (\d+), watch (\w+)", log)}
        if run["name"] in (FROZEN_REASONS, TRAINED_REASONS):
            reward = run["rewards"][0]
            run |= {"paid_by": reasoning_judge(Path(reward["model"]), Path(reward["template"]))}
        path = output / "runs" / f"{run_label(run['name'], TASK, run['seed'])}.json"
        path.write_text(json.dumps(run) + "\n", encoding="utf-8")
    for weights in (folder / "policy").glob("*.safetensors"):
        weights.unlink()
    return run


def committed() -> tuple[list[dict], dict]:
    """The runs in results/ and the base of self_improvement, and that base as a judge."""
    paths = sorted(RESULTS.glob("*_seed*.json"))
    seeds = sorted({path.stem.rpartition("_seed")[2] for path in paths})
    names = [run_label(BASE, TASK, int(seed)) for seed in seeds]
    paths += [path for name in names if (path := SHARED_RUNS / f"{name}.json").is_file()]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths], json.loads(
        (RESULTS / "base_judge.json").read_text(encoding="utf-8")
    )


def committed_table() -> str:
    """The README's table, from the files in results/ and those of self_improvement."""
    return table(*committed())


def table(files: Sequence[Mapping], base_judge: Mapping) -> str:
    """A row for each kind of run; differences are from the base with the same seed of the sampling."""
    bases = {run["seed"]: run for run in files if run["name"] == BASE}
    rows = []
    for name in (BASE, *RUNS):
        runs = [run for run in files if run["name"] == name and run["seed"] in bases]
        if not runs:
            continue
        row = [name, len(runs), *(over_seeds(runs, "heldout", decoding) for decoding in ("sampled", "greedy"))]
        row += [format(mean_of(runs, "mean_tokens"), ".1f"), format(mean_of(runs, "ended"), ".2f")]
        if name == BASE:
            rows.append([*row, "", "", with_interval(base_judge["accuracy"], *base_judge["ci95"]), "", ""])
            continue
        row.append(with_interval(*gain(runs, [bases[run["seed"]] for run in runs], "sampled", "sampled"), "+.3f"))
        row += [payer_cell(runs), judge_cell(runs)]
        row.append(verdict(runs, [bases[run["seed"]] for run in runs]))
        tripped = sorted({watch for run in runs for _, watch in run.get("watches", [])})
        rows.append([*row, ", ".join(tripped)])
    headings = ["held-out questions", "seeds", "sampled", "greedy", "tokens", "ended", "sampled − base"]
    return markdown_table([*headings, "judge that pays", "policy as a judge", "verdict", "watches"], rows)


def payer_cell(runs: Sequence[Mapping]) -> str:
    """Accuracies of the judges that wrote for a reward, seed by seed, or that of the one which judged for all."""
    found = [run["paid_by"]["accuracy"] for run in sorted(runs, key=lambda run: run["seed"]) if "paid_by" in run]
    return ", ".join(f"{accuracy:.3f}" for accuracy in dict.fromkeys(found))


def judge_cell(runs: Sequence[Mapping]) -> str:
    """Accuracy of the trained policies as judges, over seeds where there are several."""
    found = [run["judge"] for run in runs if "judge" in run]
    if len(found) > 1:
        return with_interval(*student([judge["accuracy"] for judge in found]))
    return with_interval(found[0]["accuracy"], *found[0]["ci95"]) if found else ""


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, RUNS, "outputs/self_rewarding", seeds=(0, 1, 2))
    parser.add_argument("--judges", type=Path, default=Path("outputs/trained_judge"), help="folder of trained judges")
    parser.set_defaults(rollouts=4)
    args = parser.parse_args(argv)
    if args.write_readme:
        write_between(README, "results", committed_table())
        files, _ = committed()
        draw_curves({n: [f for f in files if f["name"] == n] for n in RUNS}, RESULTS / "runs.png")
        return
    os.chdir(ROOT)
    runs = [(seed, with_judge(RUNS[name], args, seed)) for seed, name in product(args.seeds, args.runs)]
    base_file = args.output / "base_judge.json"
    if not base_file.is_file():
        base_file.parent.mkdir(parents=True, exist_ok=True)
        found = judge_accuracy(args.model) | {"without_mark": without_mark(args.model)}
        base_file.write_text(json.dumps(found | record(argv=argv)) + "\n", encoding="utf-8")
    (args.output / "template.json").write_text(json.dumps(judge_template()), encoding="utf-8")
    files = [make_base(TASK, seed, args.model, args.output, args.dtype) for seed in args.seeds]
    for seed, kind in tqdm(runs, desc="runs"):
        run = make_run(kind, TASK, seed, args.rollouts, args.model, args.output, args.dtype, keep=True, sides=SIDES)
        files.append(judged(run, args.output, args.output / run_label(kind.name, TASK, seed) / "policy"))
    text = table(files, json.loads(base_file.read_text(encoding="utf-8")))
    (args.output / "results.md").write_text(text, encoding="utf-8")
    print(f"{text}\n{args.output}: results.md, and one JSON file a run in runs/")


if __name__ == "__main__":
    main()
