"""Evaluations and training runs with known numbers: as folders, as scripts leave them, and as what is read of them."""

import json

import numpy as np

from train.evaluation.folders import Evaluation, Run
from train.evaluation.summary import summarise_model

SIZES = {"amc23": 40, "math500": 200}
SHARES = ("truncated", "boxed", "code", "repetition", "no answer", "ungraded")


def right(rate, sizes=SIZES, samples=4, seed=0):
    """Which of the samples of each problem are right, with problems of all difficulties."""
    rng = np.random.default_rng(seed)
    return {b: rng.random((n, samples)) < np.linspace(0, 2 * rate, n)[:, None] for b, n in sizes.items()}


def facts_of(right, model="m", order=None, command=("scripts/eval_math.py",), draws=200, **settings):
    """What scripts/eval_math.py writes of these samples, its problems in another order if one is given."""
    n = next(iter(right.values())).shape[1]
    settings = {"template": "qwen-math", "samples": n, "temperature": 1.0 if n > 1 else 0.0, **settings}
    columns = {}
    for benchmark, table in right.items():
        table = table[order] if order is not None else table
        columns[benchmark] = {f"avg@{n}": table.mean(axis=1)}
        if n > 1:
            columns[benchmark][f"majority@{n}"] = (table.mean(axis=1) > 0.5).astype(float)
        columns[benchmark]["tokens"] = np.full(len(table), 100.0)
        columns[benchmark] |= {figure: np.zeros(len(table)) for figure in SHARES}
    return {
        "command": list(command),
        "commit": "abc123",
        "versions": {"torch": "2"},
        "settings": settings,
        "models": {model: f"/weights/{model}"},
        "results": {model: summarise_model(columns, draws)},
        "problems": {b: [f"{b}/{i}" for i in (range(len(t)) if order is None else order)] for b, t in right.items()},
        "per_problem": {model: {b: {f: v.tolist() for f, v in c.items()} for b, c in columns.items()}},
        "notes": [],
    }


def evaluation_folder(folder, right, model="m", order=None, **settings):
    """What scripts/eval_math.py leaves behind."""
    folder.mkdir()
    command = ["scripts/eval_math.py", "--output", str(folder)]
    (folder / "results.json").write_text(json.dumps(facts_of(right, model, order, command, **settings)))
    return folder


def made_evaluation(right, role="", model="m", order=None, folder="outputs/eval", **settings) -> Evaluation:
    """What is read of such a folder."""
    facts = facts_of(right, model, order, **settings)
    figures = {b: {f: np.array(v) for f, v in c.items()} for b, c in facts["per_problem"][model].items()}
    return Evaluation(role, folder, model, facts, figures)


def training_folder(folder, rows, watches=None, recipe=None):
    """What a training leaves behind."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"command": ["train/ppo_endorm.py"], "recipe": recipe or {}}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if watches is not None:
        (folder / "watches.jsonl").write_text("".join(json.dumps(row) + "\n" for row in watches))
    return folder


def made_run(watches=None, name="outputs/run", facts=None, **metrics) -> Run:
    """A run that logged each metric at steps 1, 2, ...; in the metrics' names `__` stands for a slash."""
    longest = max((len(values) for values in metrics.values()), default=0)
    rows = [{"step": i + 1} for i in range(longest)]
    for metric, values in metrics.items():
        for row, value in zip(rows, values):
            row[metric.replace("__", "/")] = value
    return Run(name, facts or {}, rows, watches)


def rollouts(length=100.0, reward=1.0, n=10):
    """Logged rows in which the length of responses moves from 100 to `length` and the reward rises."""
    return [
        {
            "step": i,
            "reward": reward * i,
            "entropy": 0.5,
            "kl/k1": 0.1,
            "completions/mean_length": 100 + i * (length - 100) / n,
        }
        for i in range(n + 1)
    ]
