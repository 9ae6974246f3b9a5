"""From samples to figures: grades kept apart from samples, EndoRM's choice, the table in the paper's layout."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache as cache_result
from importlib.metadata import version
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from transformers import AutoTokenizer

from rewards.endorm import EndoRM
from rewards.frozen.frozen_base import FrozenBase
from rewards.frozen.loading import load_causal_lm
from rewards.frozen.score_cache import ScoreCache
from rewards.reporting.tables import markdown_table, percent
from train.evaluation.figures import average, best_of, majority, pass_at_k, response_figures, summarise
from train.evaluation.grading import Graders
from train.evaluation.problems import BENCHMARKS, PAPER, Problem


def grade_samples(
    path: str | Path,
    problems: Sequence[Problem],
    rows: Sequence[dict],
    graders: Graders,
    boxed_only: bool = False,
    again: bool = False,
    progress: bool = True,
) -> list[dict]:
    """Grades of samples, read from a file where it holds those of the same samples, gold answers and rules.

    Args:
        path: the .jsonl file of grades; written whole or not at all.
        rows: samples as `train.evaluation.sampling.sample` gives them.
        again: grade even so.

    Returns:
        For each sample "id", "sample", "verdict", "answer", "reason", "cluster" (of equal answers to that problem,
        None without an answer) and "not_compared" (comparisons of the problem's answers that hung or crashed).
    """
    path, golds = Path(path), {p.id: p.golds for p in problems}
    facts = {
        "samples": _hash([[row["id"], row["sample"], row["text"]] for row in rows]),
        "golds": _hash(golds),
        "boxed_only": boxed_only,
        "seconds": graders.seconds,
        "math_verify": version("math-verify"),
    }
    if path.exists() and not again:
        first, *found = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        if first == facts:
            return found
    grades = graders.grade([row["text"] for row in rows], [golds[row["id"]] for row in rows], boxed_only, progress)
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row["id"], []).append(place)
    clusters = graders.cluster([[grades[i].answer for i in group] for group in places.values()])
    result = [{"id": row["id"], "sample": row["sample"], **vars(grade)} for row, grade in zip(rows, grades)]
    for group, (numbers, failed) in zip(places.values(), clusters):
        for i, number in zip(group, numbers):
            result[i] |= {"cluster": number, "not_compared": failed}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text("".join(json.dumps(row) + "\n" for row in [facts, *result]), encoding="utf-8")
    os.replace(unfinished, path)
    return result


class EndoRMScorer:
    """EndoRM of samples, by a frozen base with the policy's tokenizer. Scores are cached, also over restarts.

    Args:
        model: name or folder of the base that judges.
        policy: name or folder of what wrote the samples.
        cache: folder for the per-token scores.
        trust_remote_code: run Python code that comes with the models.
        settings: of `EndoRM`: alpha, discount, floor, form, reduce.

    Raises:
        ValueError: their tokenizers differ.
    """

    def __init__(
        self,
        model: str,
        policy: str,
        cache: str,
        dtype: str = "auto",
        device: str | None = None,
        trust_remote_code: bool = False,
        **settings,
    ):
        self.tokenizer, its_own = (
            AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code) for name in (policy, model)
        )
        if self.tokenizer.get_vocab() != its_own.get_vocab():
            raise ValueError(f"{model} has another tokenizer than {policy}: EndoRM scores need a base of its family")
        self.reward = EndoRM(None, self.tokenizer, **settings)
        self.cache = ScoreCache(cache, model, dtype, alphas=self.reward.alphas)
        self._base = cache_result(lambda: FrozenBase(load_causal_lm(model, dtype, device, trust_remote_code)[0]))

    def __call__(self, prompts: Mapping[str, str | list[dict]], rows: Sequence[dict]) -> np.ndarray:
        """(n,) rewards in nats of samples, given each problem's prompt. What was cut off is no complete response."""
        encoded = {i: self.reward.prompt_ids(prompt) for i, prompt in prompts.items()}
        responses = [row["token_ids"] for row in rows]
        scores = self.cache.score(self._base, [encoded[row["id"]] for row in rows], responses)
        return np.array([float(self.reward.values(s, row["finished"]).sum()) for s, row in zip(scores, rows)])


def problem_figures(
    rows: Sequence[dict], grades: Sequence[dict], samples: int, endorm: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Figures of each problem: name -> (problems,).

    Args:
        rows, grades: by problem and sample.
        samples: to each problem, n.
        endorm: (len(rows),) rewards, for the best of n.

    Returns:
        "avg@n" (ungraded samples count as not right: see "ungraded"), "pass@k" for k = 2, 4, ... n, "majority@n",
        "shortest of n", "longest of n", "EndoRM of n", then "tokens", "truncated", "boxed", "code", "repetition",
        "no answer" and "ungraded".
    """

    def table(values) -> np.ndarray:
        return np.array(values, dtype=float).reshape(-1, samples)

    verdicts = np.array([grade["verdict"] for grade in grades])
    right = table(verdicts == "right")
    responses = response_figures(
        [row["text"] for row in rows], [row["token_ids"] for row in rows], [row["finished"] for row in rows]
    )
    figures = {f"avg@{samples}": right.mean(axis=1)}
    if samples > 1:
        sizes = sorted({2**j for j in range(1, samples.bit_length())} | {samples})
        clusters = [[g["cluster"] for g in grades[i : i + samples]] for i in range(0, len(grades), samples)]
        lengths = table(responses["tokens"])
        figures |= {f"pass@{k}": pass_at_k(right, k) for k in sizes}
        figures[f"majority@{samples}"] = majority(right, clusters)
        figures[f"shortest of {samples}"] = best_of(right, -lengths)
        figures[f"longest of {samples}"] = best_of(right, lengths)
        if endorm is not None:
            figures[f"EndoRM of {samples}"] = best_of(right, table(endorm))
    figures |= {name: table(values).mean(axis=1) for name, values in responses.items()}
    figures["no answer"] = table([grade["answer"] is None for grade in grades]).mean(axis=1)
    figures["ungraded"] = table(verdicts == "ungraded").mean(axis=1)
    return figures


def summarise_model(per_problem: Mapping[str, Mapping[str, np.ndarray]], draws: int) -> dict[str, dict]:
    """Figures with intervals of one model: benchmark -> figure -> {"value", "low", "high"}, and "average" over all."""
    results, means = {}, {}
    for seed, (name, columns) in enumerate(per_problem.items()):
        results[name], means[name] = summarise(columns, draws, seed)
    if len(results) > 1:
        sizes = [len(next(iter(columns.values()))) for columns in per_problem.values()]
        results["average"] = {
            figure: average([r[figure]["value"] for r in results.values()], [m[figure] for m in means.values()], sizes)
            for figure in next(iter(means.values()))
        }
    return results


def title(name: str) -> str:
    """A benchmark's name in tables."""
    return "Avg" if name == "average" else BENCHMARKS[name].title if name in BENCHMARKS else name


def paper_order(names: Sequence[str]) -> list[str]:
    """The paper's five benchmarks in its order, then the others as given."""
    return sorted(dict.fromkeys(names), key=lambda name: PAPER.index(name) if name in PAPER else len(PAPER))


def markdown(results: Mapping[str, Mapping[str, Mapping]], notes: Sequence[str]) -> str:
    """The table in the paper's layout, one line per model, then all figures of each model.

    Args:
        results: model -> benchmark -> figure -> {"value", "low", "high"}.
        notes: lines below.
    """
    first = next(iter(results.values()))
    accuracy = next(iter(next(iter(first.values()))))
    lines = [[model, *(percent(r[accuracy]) for r in figures.values())] for model, figures in results.items()]
    parts = [f"# Accuracy ({accuracy}) in percent (95 % interval over problems)\n"]
    parts.append(markdown_table(["model", *map(title, first)], lines))
    for model, figures in results.items():
        rows = [[name, *(_shown(name, r[name]) for r in figures.values())] for name in next(iter(figures.values()))]
        parts.append(f"## {model}\n\n" + markdown_table(["figure", *map(title, figures)], rows))
    return "\n".join([*parts, *(f"- {note}" for note in dict.fromkeys(notes))]) + "\n"


def draw_series(results: Mapping[str, Mapping[str, Mapping]], steps: Mapping[str, int], path: Path) -> None:
    """Accuracy against training step with intervals, one panel per benchmark, as a PNG."""
    names = list(next(iter(results.values())))
    columns = min(3, len(names))
    figure = Figure(figsize=(4 * columns, 3 * -(-len(names) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(names) // columns), columns, squeeze=False).ravel()
    for axis, name in zip(axes, names):
        points = sorted((steps[model], next(iter(r[name].values()))) for model, r in results.items())
        x, value = [step for step, _ in points], np.array([[p["value"], p["low"], p["high"]] for _, p in points]).T
        axis.plot(x, value[0], marker=".")
        axis.fill_between(x, value[1], value[2], alpha=0.2)
        axis.set_title(title(name), fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.3)
    for axis in axes[len(names) :]:
        axis.axis("off")
    figure.savefig(path, dpi=120)


def _shown(name: str, figure: Mapping[str, float]) -> str:
    if name != "tokens":
        return percent(figure)
    return f"{figure['value']:.0f} ({figure['low']:.0f} to {figure['high']:.0f})"


def _hash(value) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
