"""Markdown tables and the places they stand in: one writer for every report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """A Markdown table that ends in a line feed.

    Args:
        headings: one a column.
        rows: cells as text, or as whatever `str` makes text of; a vertical bar in any cell is escaped.
        left: columns that are aligned to the left, from the first on; the others are aligned to the right.
    """
    headings, *cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (headings, *rows)]
    align = ["left" if i < left else "right" for i in range(len(headings))]
    table = tabulate(cells, headings, tablefmt="pipe", disable_numparse=True, colalign=align if cells else None)
    return table + "\n"


def percent(score: Mapping | float | None) -> str:
    """A score between 0 and 1, or one with its interval, as "70.2 (68.1 to 72.3)"; a dash for None."""
    if not isinstance(score, Mapping):
        return "–" if score is None else f"{100 * score:.1f}"
    if score["value"] is None or score["low"] is None:
        return percent(score["value"])
    return f"{100 * score['value']:.1f} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def with_interval(value: float, low: float, high: float, form: str = ".3f") -> str:
    """A number with its interval, such as "0.982 (0.975 to 0.987)"."""
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def insert(page: str, name: str, text: str) -> str:
    """The page with `text` between its lines `<!-- NAME:begin -->` and `<!-- NAME:end -->`.

    Raises:
        ValueError: the two lines are not there once each, in their order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"The page needs one line {begin} and after it one line {end}, between which the table goes.")
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.split(end)[1]}"


def write_between(path: Path, name: str, text: str) -> None:
    """`insert` into a file."""
    path.write_text(insert(path.read_text(encoding="utf-8"), name, text), encoding="utf-8")
