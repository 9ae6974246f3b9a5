"""Intervals by a paired bootstrap over prompts, correlation with length, tables.

A score is any function of how many comparisons a judge won and how many it was scored on, per cell (a cell is, for
example, one domain with one pair of styles). `resample` gives those numbers as they are, then for every bootstrap
draw, so that a score and its interval come from the same lines of code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, rankdata, spearmanr

from rewards.preferences.comparisons import Group, length_scores
from rewards.reporting.intervals import DRAWS_AT_A_TIME, percentiles
from rewards.reporting.tables import markdown_table, percent


@dataclass
class Layout:
    """How outcomes become scores.

    Attributes:
        unit: (n,) int, the prompt of each comparison.
        cell: (n,) int in 0 .. cells-1, where it counts.
        cells: number of cells.
        scores: from wins and scored, each (rows, cells) float, to name -> (rows,) scores, NaN where there is none.
    """

    unit: np.ndarray
    cell: np.ndarray
    cells: int
    scores: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def share(wins: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """wins / scored, NaN where nothing was scored."""
    return np.divide(wins, scored, out=np.full(np.shape(wins), np.nan), where=scored > 0)


def resample(
    layout: Layout, outcomes: Sequence[np.ndarray], draws: int = 10_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Wins and scored comparisons per cell as they are (row 0) and in bootstrap draws (the others).

    A draw takes as many prompts as there are, with replacement, each with all its comparisons, the same ones for every
    judge. Prompts whose comparisons all went the same way are interchangeable, so what is drawn is how often each such
    pattern comes: a multinomial, and one matrix product.

    Args:
        outcomes: one (n,) array of 1, 0.5, 0 and NaN per judge.

    Returns:
        ``(wins, scored)``, each (judges, 1 + draws, cells) float64. Ties are no wins; what is NaN is not scored.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; use 1 or more (10000 for an interval worth printing)")
    names, unit = np.unique(layout.unit, return_inverse=True)
    slot = unit * layout.cells + layout.cell
    totals = np.concatenate(
        [
            np.bincount(slot, weights=counted, minlength=len(names) * layout.cells).reshape(len(names), layout.cells)
            for outcome in outcomes
            for counted in (outcome == 1, ~np.isnan(outcome))
        ],
        axis=1,
    )
    patterns, repeats = np.unique(totals, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    drawn = [
        generator.multinomial(len(names), repeats / len(names), size=min(DRAWS_AT_A_TIME, draws - start)) @ patterns
        for start in range(0, draws, DRAWS_AT_A_TIME)
    ]
    rows = np.concatenate([totals.sum(axis=0, keepdims=True), *drawn])
    rows = rows.reshape(1 + draws, len(outcomes), 2, layout.cells)
    return rows[:, :, 0].swapaxes(0, 1), rows[:, :, 1].swapaxes(0, 1)


def estimates(
    layout: Layout, outcome: np.ndarray, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> dict[str, dict]:
    """Every score of one judge with its percentile interval: name -> {"value", "low", "high"}, None where undefined.

    A draw in which a score is undefined (no prompt of one of its cells was drawn) does not count for its interval.
    """
    wins, scored = resample(layout, [outcome], draws, seed)
    return percentiles(layout.scores(wins[0], scored[0]), level)


def figure(
    layout: Layout,
    outcomes: Sequence[np.ndarray],
    value: Callable[[list[dict[str, np.ndarray]]], np.ndarray],
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    minus: Sequence[np.ndarray] | None = None,
) -> dict[str, float | None]:
    """One figure of several outcomes on the same comparisons, such as a mean over views, with its percentile interval.

    Args:
        value: from the scores of each outcome, name -> (1 + draws,), to the figure, (1 + draws,).
        minus: as many outcomes of another judge, whose figure is subtracted, on the comparisons that both have scored.

    Returns:
        {"value", "low", "high"}, as `estimates` has them.
    """
    n = len(outcomes)
    if minus is not None:
        both = [~(np.isnan(o) | np.isnan(m)) for o, m in zip(outcomes, minus, strict=True)]
        outcomes = [np.where(b, o, np.nan) for b, o in zip([*both, *both], [*outcomes, *minus], strict=True)]
    wins, scored = resample(layout, outcomes, draws, seed)
    scores = [layout.scores(w, s) for w, s in zip(wins, scored, strict=True)]
    values = value(scores) if minus is None else value(scores[:n]) - value(scores[n:])
    return percentiles({"figure": values}, level)["figure"]


def differences(
    layout: Layout, first: np.ndarray, second: np.ndarray, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> dict[str, dict]:
    """Every score of the first judge minus that of the second, on the comparisons both have scored, as `estimates`."""
    both = ~(np.isnan(first) | np.isnan(second))
    wins, scored = resample(layout, [np.where(both, o, np.nan) for o in (first, second)], draws, seed)
    ours, theirs = (layout.scores(w, s) for w, s in zip(wins, scored, strict=True))
    return percentiles({name: ours[name] - theirs[name] for name in ours}, level)


def count(outcome: np.ndarray) -> dict[str, int]:
    """Comparisons, and how many were won, tied, lost and not scored."""
    parts = {"won": outcome == 1, "tied": outcome == 0.5, "lost": outcome == 0, "not_scored": np.isnan(outcome)}
    return {"comparisons": len(outcome)} | {name: int(np.sum(part)) for name, part in parts.items()}


def count_by(outcome: np.ndarray, label: np.ndarray) -> dict[str, dict[str, int]]:
    """`count` for each value of a label, in order of appearance."""
    return {str(name): count(outcome[label == name]) for name in dict.fromkeys(label.tolist())}


def length_correlation(
    groups: list[Group], scores: Sequence[Sequence[float | None]], tokenizer=None
) -> dict[str, float | int | None]:
    """Spearman's correlation of score and length (characters, or tokens where a tokenizer is given).

    Returns:
        "all": over all scored responses. "within_prompt": ranks are taken within each group, centred and divided by
        the group's size, then pooled; it says whether length decides between responses to the same prompt. None where
        one of the two does not vary. "responses": how many were scored.
    """
    pairs = [
        np.array([(s, n) for s, n in zip(row, sizes, strict=True) if s is not None and s == s], dtype=float)
        for row, sizes in zip(scores, length_scores(groups, tokenizer), strict=True)
    ]
    pairs = [pair.reshape(-1, 2) for pair in pairs]
    every = np.concatenate(pairs)
    ranks = [np.zeros((0, 2))]
    for size in {len(pair) for pair in pairs} - {0}:  # one call for all groups of a size
        ranked = rankdata([pair for pair in pairs if len(pair) == size], axis=1)
        ranks.append(((ranked - (size + 1) / 2) / size).reshape(-1, 2))
    result: dict[str, float | int | None] = {"responses": len(every)}
    for name, table, correlate in (
        ("all", every, spearmanr),
        ("within_prompt", np.concatenate(ranks), pearsonr),
    ):
        varies = len(table) > 1 and (np.ptp(table, axis=0) > 0).all()
        result[name] = float(correlate(table[:, 0], table[:, 1]).statistic) if varies else None
    return result


def markdown_summaries(summaries: Mapping[str, Mapping], columns: Sequence[str] | None = None) -> str:
    """One line per judge: scores in percent with their intervals, then ties and comparisons that were not scored.

    Args:
        summaries: judge -> what a benchmark's `summary` returned.
        columns: names of scores; default all those of the first judge.
    """
    columns = list(columns or next(iter(summaries.values()))["scores"])
    rows = [
        [judge, *(percent(s["scores"][c]) for c in columns), s["counts"]["tied"], s["counts"]["not_scored"]]
        for judge, s in summaries.items()
    ]
    return markdown_table(["judge", *(c.replace("_", " ") for c in columns), "ties", "not scored"], rows)
