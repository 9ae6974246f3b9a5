"""Figures out of the files of `chat_runs`: accuracies over seeds, differences paired by question, verdicts, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rewards.reporting.intervals import bootstrap_mean, student
from rewards.reporting.tables import with_interval

PANELS = {  # name in the files' curves: title
    "accuracy": "accuracy of the rollouts",
    "tokens": "tokens of a response",
    "kl": "KL to the base, nats a token",
}
COLLAPSE = 0.10  # loss of sampled or greedy held-out accuracy from which a run is called a collapse


def cell(run: Mapping, side: str, decoding: str, value: str = "accuracy") -> Any:
    """One figure of a run's file: of its held-out questions ("heldout") or as many of training ("train")."""
    return next(row[value] for row in run[side] if row["decoding"] == decoding)


def mean_of(runs: Sequence[Mapping], value: str, side: str = "heldout", decoding: str = "sampled") -> float:
    """The mean over runs of one figure, those left out where it is None; NaN where it is None in all."""
    known = [x for run in runs if (x := cell(run, side, decoding, value)) is not None]
    return float(np.mean(known)) if known else float("nan")


def over_seeds(runs: Sequence[Mapping], side: str, decoding: str) -> str:
    """Mean accuracy with an interval: over seeds where there are several, else over the one run's questions."""
    values = [cell(run, side, decoding) for run in runs]
    if len(values) > 1:
        return with_interval(*student(values))
    return with_interval(values[0], *cell(runs[0], side, decoding, "ci95"))


def gain(
    runs: Sequence[Mapping], bases: Sequence[Mapping], decoding: str, over: str, side: str = "heldout"
) -> tuple[float, float, float]:
    """Accuracy of `runs` minus that of `bases` under decoding `over`, paired by question and then by run; the interval
    is a bootstrap over questions, since all runs are asked the same ones."""
    differences = [
        np.subtract(cell(run, side, decoding, "per_question"), cell(base, side, over, "per_question"))
        for run, base in zip(runs, bases, strict=True)
    ]
    mean, ends = bootstrap_mean(np.mean(differences, axis=0)[:, None])
    return float(mean[0]), float(ends[0, 0]), float(ends[0, 1])


def verdict(runs: Sequence[Mapping], bases: Sequence[Mapping]) -> str:
    """What training did to held-out accuracy: a gain where the interval of the sampled difference is above 0; a
    collapse where sampled or greedy accuracy lost `COLLAPSE`, named by what the samples look like."""
    sampled = gain(runs, bases, "sampled", "sampled")
    lost = -min(sampled[0], gain(runs, bases, "greedy", "greedy")[0])
    if lost >= COLLAPSE:
        tokens, usual = (mean_of(x, "mean_tokens") for x in (runs, bases))
        ended, before = (mean_of(x, "ended") for x in (runs, bases))
        how = ["responses do not end"] * bool(ended < before - 0.2)
        how += ["short answers"] * bool(tokens < 0.4 * usual)
        return "collapse: " + (", ".join(how) or "wrong answers")
    if sampled[1] > 0:
        return "gain"
    return "loss" if sampled[2] < 0 else "nothing shown"


def responses_until(run: Mapping, accuracy: float, per_rollout: int = 64) -> int | None:
    """Responses drawn until three rollouts in a row had this mean accuracy; None where they never had."""
    steps, values = run["curves"]["accuracy"]
    for i in range(2, len(values)):
        if np.mean(values[i - 2 : i + 1]) >= accuracy:
            return per_rollout * (i + 1)
    return None


def draw_curves(runs: Mapping[str, Sequence[Mapping]], path: Path) -> None:
    """A panel for each of `PANELS`, a line for each of `runs`, the mean over its seeds, as a PNG."""
    figure = Figure(figsize=(5.5 * len(PANELS), 5.5), layout="constrained")
    axes = figure.subplots(1, len(PANELS), squeeze=False)[0]
    for axis, (metric, title) in zip(axes, PANELS.items()):
        for i, (name, of_it) in enumerate(runs.items()):
            curves = [run["curves"][metric] for run in of_it if metric in run["curves"]]
            if not curves:
                continue
            length = min(len(steps) for steps, _ in curves)
            mean = np.mean([values[:length] for _, values in curves], axis=0)
            axis.plot(curves[0][0][:length], mean, label=name, color=f"C{i % 10}", ls="-" if i < 10 else "--", lw=1.3)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=110)
