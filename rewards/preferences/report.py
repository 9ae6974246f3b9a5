"""What an evaluation of judges leaves behind: results.json, results.md and a heatmap."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure


def heatmaps(panels: Mapping[str, tuple[Sequence[Sequence], Sequence[str], Sequence[str]]], path: Path) -> None:
    """Matrices of accuracies as a PNG.

    Args:
        panels: title -> (rows of numbers in 0..1 or None, row labels, column labels).
        path: of the PNG.
    """
    widths = [1.2 + 0.75 * len(columns) for _, _, columns in panels.values()]
    height = 1.6 + 0.45 * max(len(rows) for _, rows, _ in panels.values())
    figure = Figure(figsize=(max(4.5, sum(widths)), height), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for axis, (title, (matrix, rows, columns)) in zip(axes, panels.items()):
        values = [[float("nan") if x is None else x for x in row] for row in matrix]
        axis.imshow(
            values, vmin=0, vmax=1, cmap="RdBu", aspect="auto"
        )  # white is chance, where a pair is two responses
        for y, row in enumerate(matrix):
            for x, value in enumerate(row):
                dark = value is not None and abs(value - 0.5) > 0.35
                text = "–" if value is None else f"{100 * value:.1f}"
                axis.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=8)
        axis.set_yticks(range(len(rows)), rows, fontsize=8)
    figure.savefig(path, dpi=120)


def write(folder: str | Path, results: Mapping, markdown: str, panels: Mapping) -> None:
    """Write the three files into a folder, which is made, and print the table."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=2, default=str) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(markdown, encoding="utf-8")
    if panels:
        heatmaps(panels, folder / "heatmap.png")
    print(f"\n{markdown}\nWrote results.json, results.md and heatmap.png to {folder}")
