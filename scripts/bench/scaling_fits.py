"""How the cost of scoring grows with response length, batch, vocabulary and model: fitted exponents, counted ones.

Seconds are held against counted FLOPs, memory against the bytes that a forward can't do without. The fp32 logits of
all states, 4 bytes for each state and vocabulary entry, are not among these; a fit says how much of them there was.
On a CPU the C library holds on to some of what was freed: more is measured than counted, by a factor and not a power.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter
from torch import nn
from transformers import PreTrainedModel

from rewards.frozen.lm_head import BLOCKS
from rewards.reporting.intervals import least_squares, power_law
from train.cost.hours import forward_flops
from train.cost.memory import Shape
from train.cost.stopwatch import MIB

AXES = ("response_tokens", "batch", "vocabulary", "preset")
LOGIT_BYTES = 0.4  # of memory for each state and vocabulary entry: a tenth of an fp32 logit, from which it does grow


@dataclass(frozen=True)
class Point:
    """What was scored: `batch` responses of `response_tokens`, by a model of the shape `preset`."""

    preset: str
    vocabulary: int
    batch: int
    response_tokens: int


def narrow_vocabulary(model: PreTrainedModel, size: int) -> PreTrainedModel:
    """The same model with the first `size` rows of its head alone; all weights are shared, nothing is copied."""
    narrow, head = copy.copy(model), model.get_output_embeddings()
    narrow._modules = dict(model._modules)  # else the new head would be the old model's too
    narrow.set_output_embeddings(nn.Linear(head.in_features, size, bias=False, device="meta"))
    narrow.get_output_embeddings().weight = nn.Parameter(head.weight[:size], requires_grad=False)
    return narrow


def scoring_flops(shape: Shape, point: Point, prompt_tokens: int) -> dict[str, int]:
    """FLOPs of one scoring by part: causal attention, and the head at each state of the responses."""
    length = prompt_tokens + point.response_tokens
    pairs = length * (length + 1) // 2
    return forward_flops(shape, point.batch * length, point.batch * pairs, point.batch * (point.response_tokens + 1))


def scoring_bytes(
    shape: Shape, point: Point, prompt_tokens: int, itemsize: int, batch_tokens: int, device: str
) -> int:
    """Bytes over the weights that one scoring can't do without: in a layer, the residual, its norm and three of the
    MLP's width for each token of a forward; in the head, the states and one block of fp32 logits."""
    length = prompt_tokens + point.response_tokens
    rows = min(point.batch, max(1, batch_tokens // length))
    layer = rows * length * (2 * shape.hidden + 3 * shape.intermediate) * itemsize
    states = rows * (point.response_tokens + 1)
    block = min(states, BLOCKS[device][0]) * min(shape.vocab, BLOCKS[device][1]) * 4
    return max(layer, states * shape.hidden * itemsize + block)


def bytes_a_logit(rows: Sequence[Mapping]) -> dict:
    """Least squares of memory on a constant, the counted bytes and the logits (states x vocabulary entries): bytes a
    logit, 4 where all exist in fp32, with the 95 % interval, and measured bytes for each that was counted.

    Args:
        rows: as in `summarise`, of one preset; at least four, and not all with the same vocabulary.
    """
    logits = [row["batch"] * (row["response_tokens"] + 1) * row["vocabulary"] / MIB for row in rows]
    columns = [np.ones(len(rows)), [row["counted_mib"] for row in rows], logits]
    found, half = least_squares(columns, [row["extra_mib"] for row in rows])
    return {
        "slope": float(found[2]),
        "ci95": [float(found[2] - half[2]), float(found[2] + half[2])],
        "measured over counted": float(found[1]),
    }


def summarise(axis: str, rows: Sequence[Mapping]) -> dict:
    """Fits along one axis.

    Args:
        axis: one of AXES.
        rows: at least three, each a point's fields with `seconds` (of each repeat), `flops` {part: count}, `weights`
            (in matrix products), `extra_mib` (None where the system does not tell) and `counted_mib`.

    Returns:
        `x`, and by `time` and `memory` the measured values, the counted ones and for both the exponent in x; that of
        the measured has a 95 % interval. `memory` is None where the system does not tell.
    """
    x = [row["weights" if axis == "preset" else axis] for row in rows]

    def growth(measured: list[float], counted: list[float]) -> dict:
        return {
            "measured": measured,
            "counted": counted,
            **power_law(x, measured),
            "expected": power_law(x, counted)["exponent"],
        }

    flops = [float(sum(row["flops"].values())) for row in rows]
    result = {"x": x, "time": growth([statistics.median(row["seconds"]) for row in rows], flops), "memory": None}
    mib, counted = [row["extra_mib"] for row in rows], [row["counted_mib"] for row in rows]
    if None not in mib:
        result["memory"] = growth(mib, counted)
    return result


def draw(axes: dict[str, dict], path: Path) -> None:
    """Seconds (above) and MiB (below) against each axis, with fitted lines, and what was counted: FLOPs at the mean
    speed of the points, and bytes as they are."""
    figure = Figure(figsize=(4 * len(axes), 7), layout="constrained")
    panels = figure.subplots(2, len(axes), squeeze=False)
    for column, (axis, found) in enumerate(axes.items()):
        x = np.array(found["x"], dtype=float)
        for row, (quantity, unit) in enumerate({"time": "seconds", "memory": "MiB over the weights"}.items()):
            panel, growth = panels[row, column], found[quantity]
            panel.set_xlabel("weights in matrix products" if axis == "preset" else axis.replace("_", " "))
            panel.set_ylabel(unit)
            if growth is None or growth["exponent"] is None:
                continue
            y, counted = np.array(growth["measured"]), np.array(growth["counted"])
            centre, level = np.exp(np.log(x).mean()), np.exp(np.log(y).mean())
            if quantity == "time":
                counted = counted * level / np.exp(np.log(counted).mean())
            low, high = growth["ci95"]
            label = f"exponent {growth['exponent']:.2f} ({low:.2f} to {high:.2f})"
            panel.loglog(x, y, "o", color="tab:blue", label="measured")
            panel.loglog(x, level * (x / centre) ** growth["exponent"], color="tab:blue", lw=1, label=label)
            panel.loglog(x, counted, "--", color="tab:orange", label=f"counted: {growth['expected']:.2f}")
            panel.set_ylim(min(y.min(), counted.min()) / 2, max(y.max(), counted.max()) * 3)
            panel.set_xticks(x)
            for side, places in ((panel.xaxis, 0), (panel.yaxis, None)):
                side.set_major_formatter(EngFormatter(places=places, sep=""))
                side.set_minor_formatter(NullFormatter())
            panel.legend(fontsize=8, loc="upper left")
            panel.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
