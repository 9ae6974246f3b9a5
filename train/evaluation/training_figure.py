"""The picture of a training: every reward, also one that is only logged, KL, entropy and lengths over the steps, with
held-out prompts as dashed lines. One function draws it for a run's folder, for reports of several runs and for
experiments."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Rows = Sequence[Mapping]  # logged metrics, each with "step"

PANELS = {  # title: metric, beside the rewards
    "KL to the frozen base, k1 (nats a token)": "kl/k1",
    "entropy (nats a token)": "entropy",
    "response length (tokens)": "completions/mean_length",
    "share that ended": "completions/eos_rate",
    "share of 4-grams that repeat": "completions/repetition_rate",
    "explained variance of the critic": "critic/explained_variance",
}
FRACTIONS = "rewards from 0 to 1"
_REWARD = re.compile(r"(?:eval_)?rewards/(.+)/mean")
_EVALUATED = re.compile(r"eval_(?:(.+)_)?runtime")


def series(rows: Rows, metric: str) -> tuple[list[int], list[float]]:
    """Steps at which a metric was logged as a finite number, and its values."""
    points = [(row["step"], float(row[metric])) for row in rows if _finite(row.get(metric))]
    return [step for step, _ in points], [value for _, value in points]


def panels(runs: Sequence[Rows]) -> dict[str, list[str]]:
    """{title: metrics} of all that the runs logged in training or on held-out prompts (there the names begin with
    `eval_`). Rewards from 0 to 1 of a single run share a panel; the others have scales, and panels, of their own."""
    keys = dict.fromkeys(key for rows in runs for row in rows for key in row)
    means = {m[1]: f"rewards/{m[1]}/mean" for key in keys if (m := _REWARD.fullmatch(key))}
    alone = next((m for m in means.values() if all(_same(rows, m, "reward") for rows in runs)), None)
    found = {"reward, the weighted sum": ["reward"]} if alone is None else {}
    fractions = [m for m in means.values() if m != alone and len(runs) == 1 and _is_fraction(runs[0], m)]
    shared = fractions if len(fractions) > 1 else []
    for name, metric in sorted(means.items(), key=lambda item: item[1] != alone):  # which leaves the others' order
        if metric in shared:
            found.setdefault(FRACTIONS, []).append(metric)
        else:
            found[f"reward {name}" + ", which is the weighted sum" * (metric == alone)] = [metric]
    found |= {title: [metric] for title, metric in PANELS.items()}
    return {title: kept for title, metrics in found.items() if (kept := [m for m in metrics if _logged(runs, m)])}


def draw_runs(
    runs: Mapping[str, Rows],
    path: Path,
    more: Sequence[str] = (),
    levels: Mapping[str, Mapping[str, float]] | None = None,
) -> bool:
    """Draw the runs' `panels` as a PNG: colours are runs, or the metrics of a single one. False, and no file, where
    nothing was logged.

    Args:
        runs: {name: rows}.
        path: of the PNG.
        more: metrics that shall have a panel, if they are in none of those.
        levels: {metric: {label: height}} of horizontal lines to compare with.
    """
    shown = panels(list(runs.values()))
    drawn = {f"{prefix}{metric}" for metrics in shown.values() for metric in metrics for prefix in ("", "eval_")}
    shown |= {metric: [metric] for metric in more if metric not in drawn and _logged(list(runs.values()), metric)}
    if not shown:
        return False
    columns = min(3, len(shown))
    figure = Figure(figsize=(4 * columns, 3 * -(-len(shown) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(shown) // columns), columns, squeeze=False).ravel()
    dashed = [
        _draw_panel(axis, title, metrics, runs, levels or {}) for axis, (title, metrics) in zip(axes, shown.items())
    ]
    for axis in axes[len(shown) :]:
        axis.axis("off")
    if len(runs) > 1:
        handles = [Line2D([], [], color=f"C{i}", label=name) for i, name in enumerate(runs)]
        handles += [Line2D([], [], color="grey", ls="--", label="on held-out prompts")] * any(dashed)
        figure.legend(handles=handles, loc="outside lower center", fontsize=8)
    figure.savefig(path, dpi=120)
    return True


def draw_training(rows: Rows, path: Path, levels: Mapping[str, Mapping[str, float]] | None = None) -> bool:
    """Draw one run; see `draw_runs`."""
    return draw_runs({"": rows}, path, levels=levels)


def _draw_panel(
    axis: Axes, title: str, metrics: Sequence[str], runs: Mapping[str, Rows], levels: Mapping[str, Mapping[str, float]]
) -> bool:
    """Draw one panel; whether any of its lines is dashed."""
    dashed = False
    values: list[float] = []
    for i, rows in enumerate(runs.values()):
        for k, metric in enumerate(metrics):
            name = _REWARD.sub(r"\1", metric) if len(metrics) > 1 else "in training"
            sets = {name: (rows, metric)}
            for place, evaluated in _held_out(rows).items():
                sets[place if len(metrics) == 1 else f"{name}, {place}"] = (evaluated, f"eval_{metric}")
            for label, (logged, key) in sets.items():
                at, heights = series(logged, key)
                if at:
                    style, marker = "-" if key == metric else "--", "." if len(at) < 20 else None
                    color = f"C{i if len(runs) > 1 else k}"
                    axis.plot(at, heights, ls=style, marker=marker, color=color, label=label)
                    dashed, values = dashed or style == "--", values + heights
    for k, (label, height) in enumerate((x for m in metrics for x in levels.get(m, {}).items()), start=len(metrics)):
        axis.axhline(height, ls=":", color=f"C{k}", label=f"{label} ({height:.3f})")
        values.append(height)
    if title == FRACTIONS or title.startswith("share") or any(m in levels for m in metrics) and _within(values):
        axis.set_ylim(-0.03, 1.05)
    elif title.startswith("response length"):  # else 5.00 to 5.02 would look like a rise
        axis.set_ylim(0, 1.05 * max(values))
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("step", fontsize=8)
    axis.grid(alpha=0.3)
    if len(runs) == 1 and len(axis.lines) > 1:
        axis.legend(fontsize=7)
    return dashed


def _held_out(rows: Rows) -> dict[str, list[Mapping]]:
    """{what to call it: its rows} of each set of held-out prompts: all have metrics of the same names, and only the
    name of the time that an evaluation took tells several sets apart."""
    found: dict[str, list[Mapping]] = {}
    for row in rows:
        if any(key.startswith("eval_") for key in row):
            name = next((m[1] for key in row if (m := _EVALUATED.fullmatch(key))), None)
            found.setdefault(f"held out ({name})" if name else "held out", []).append(row)
    return found


def _logged(runs: Sequence[Rows], metric: str) -> bool:
    return any(series(rows, m)[0] for rows in runs for m in (metric, f"eval_{metric}"))


def _same(rows: Rows, one: str, other: str) -> bool:
    (at, x), (also_at, y) = series(rows, one), series(rows, other)
    return bool(at) and at == also_at and np.allclose(x, y, rtol=1e-4, atol=1e-6)


def _is_fraction(rows: Rows, metric: str) -> bool:
    return _within([*series(rows, metric)[1], *series(rows, f"eval_{metric}")[1]])


def _within(values: Sequence[float]) -> bool:
    return all(0 <= value <= 1 for value in values)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
