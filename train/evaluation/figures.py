"""Figures of an evaluation with k samples to each problem, and their intervals by a bootstrap over problems."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import hypergeom
from torch.nn.utils.rnn import pad_sequence

from rewards.answers import last_boxed
from rewards.reporting.intervals import EXACT, expanded_percentiles, resampled_means
from train.ppo_math import repetition_rate

# Code as Qwen2.5-Math writes it, with or without a fence.
_CODE = re.compile(r"```(?:python|py)\b|^\s*(?:def \w+\(|import \w+|from \w+ import |print\()", re.MULTILINE)


def pass_at_k(right: np.ndarray, k: int) -> np.ndarray:
    """Unbiased estimate of the chance that one of k samples is right: 1 - C(n - c, k) / C(n, k) (2107.03374).

    Args:
        right: (problems, n) of 0 and 1.
        k: at most n.

    Returns:
        (problems,) float64.
    """
    n = right.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} from {n} samples: k must lie between 1 and {n}")
    return 1 - hypergeom.pmf(0, n, right.sum(axis=1).astype(int), k)


def majority(right: np.ndarray, clusters: Sequence[Sequence[int | None]]) -> np.ndarray:
    """Whether the answer that most samples gave is right, (problems,); the mean over tied answers.

    Args:
        right: (problems, n) of 0 and 1.
        clusters: the cluster of each sample's answer, None without an answer; a problem without any answer gets 0.
    """
    result = np.zeros(len(right))
    for i, numbers in enumerate(clusters):
        labels = np.array([-1 if c is None else c for c in numbers])
        values, counts = np.unique(labels[labels >= 0], return_counts=True)
        if len(values):
            result[i] = np.mean([right[i, labels == v].mean() for v in values[counts == counts.max()]])
    return result


def best_of(right: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Whether the sample with the highest score is right, (problems,); the mean over ties. Both (problems, n)."""
    best = score == score.max(axis=1, keepdims=True)
    return (right * best).sum(axis=1) / best.sum(axis=1)


def response_figures(texts: Sequence[str], token_ids: Sequence[Sequence[int]], finished: Sequence[bool]) -> dict:
    """Per response: "tokens", and as 0 or 1 "truncated", "boxed", "code"; "repetition" is a share of 4-grams.

    Returns:
        name -> (n,) float64.
    """
    ids = [torch.tensor(row, dtype=torch.long) for row in token_ids]
    masks = [torch.ones(len(row), dtype=torch.long) for row in token_ids]
    repeated = repetition_rate(pad_sequence(ids, True), pad_sequence(masks, True)) if ids else torch.zeros(0)
    return {
        "tokens": np.array([len(row) for row in token_ids], dtype=float),
        "truncated": 1 - np.array(finished, dtype=float),
        "boxed": np.array([bool(last_boxed(text)) for text in texts], dtype=float),
        "code": np.array([bool(_CODE.search(text)) for text in texts], dtype=float),
        "repetition": repeated.double().numpy(),
    }


def summarise(columns: Mapping[str, np.ndarray], draws: int = 10_000, seed: int = 0) -> tuple[dict, dict]:
    """Means over problems with intervals, all from the same draws.

    Args:
        columns: name -> (problems,) values; all but "tokens" are shares.

    Returns:
        ``(figures, draws)``: name -> {"value", "low", "high"}, and name -> (draws,) means for `average`.
    """
    values = np.stack(list(columns.values()), axis=1)
    means = resampled_means(values, [name != "tokens" for name in columns], draws, seed)
    spread = np.ptp(values, axis=0) > 0  # without one the draws are those of an exact interval already
    sizes = np.where(spread, len(values), EXACT)
    figures = {
        name: expanded_percentiles(values[:, j].mean(), means[:, j], sizes[j]) for j, name in enumerate(columns)
    }
    return figures, {name: means[:, j] for j, name in enumerate(columns)}


def average(values: Sequence[float], means: Sequence[np.ndarray], problems: Sequence[int]) -> dict[str, float]:
    """The plain mean of several benchmarks' figures, each benchmark resampled on its own."""
    return expanded_percentiles(float(np.mean(values)), np.mean(means, axis=0), min(problems))
