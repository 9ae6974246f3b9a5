"""Bars with intervals, one for each seed beside its fellows: the figure of an experiment over few seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

SPACING, WIDTH = 0.25, 0.22  # from one seed's bar to the next, and of a bar, where labels are 1 apart


def draw_bars(
    panels: Mapping[str, Mapping[int, Sequence[tuple[float, Sequence[float]]]]],
    labels: Sequence[str],
    ylabel: str,
    path: Path,
) -> None:
    """Shares between 0 and 1 with their intervals, a panel beside the other, as a PNG.

    Args:
        panels: title -> seed -> for each label the share, and the two ends of its interval.
        labels: under the bars, in the order of the shares.
        ylabel: what the shares are of.
        path: of the PNG.
    """
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, (title, by_seed) in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items()):
        for k, (seed, found) in enumerate(by_seed.items()):
            places = [i + SPACING * (k - (len(by_seed) - 1) / 2) for i in range(len(found))]
            errors = [[abs(share - ends[side]) for share, ends in found] for side in (0, 1)]
            axis.bar(places, [share for share, _ in found], WIDTH, yerr=errors, capsize=2, label=f"seed {seed}")
        axis.set_xticks(range(len(labels)), labels, fontsize=8)
        axis.set(title=title, ylim=(0, 1.05), ylabel=ylabel)
        axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=100)
