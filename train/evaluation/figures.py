"""Figures of an evaluation with k samples to each problem, and their intervals by a bootstrap over problems."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import hypergeom, norm, t
from torch.nn.utils.rnn import pad_sequence

from rewards.answers import last_boxed
from train.ppo_math import repetition_rate

# Code as Qwen2.5-Math writes it, with or without a fence.
_CODE = re.compile(r"```(?:python|py)\b|^\s*(?:def \w+\(|import \w+|from \w+ import |print\()", re.MULTILINE)
BATCH = 1000  # draws at a time, for memory's sake
EXACT = 10**9  # problems at which an expanded percentile is the plain one


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


def resampled_means(values: np.ndarray, shares: Sequence[bool], draws: int = 10_000, seed: int = 0) -> np.ndarray:
    """Means over problems in bootstrap draws, each of as many problems with replacement.

    A share that is 0 everywhere, or 1 everywhere, has no spread to resample. But n problems without a success leave
    room for a rate of 1 - 0.025^(1/n), so its draws are Beta(1, n), whose 97.5 % point that is (Clopper-Pearson).

    Args:
        values: (problems, figures).
        shares: of each figure whether it is a share, between 0 and 1.

    Returns:
        (draws, figures) float64.
    """
    n = len(values)
    generator = np.random.default_rng(seed)
    sizes = [min(BATCH, draws - start) for start in range(0, draws, BATCH)]
    means = np.concatenate([generator.multinomial(n, np.full(n, 1 / n), size=s) @ values / n for s in sizes])
    tail = generator.beta(1, n, size=draws)
    means[:, (values == 0).all(axis=0) & shares] = tail[:, None]
    means[:, (values == 1).all(axis=0) & shares] = 1 - tail[:, None]
    return means


def interval(value: float, means: np.ndarray, problems: int, level: float = 0.95) -> dict[str, float]:
    """A figure with its expanded percentile interval: a bootstrap's spread is too small by sqrt((n-1)/n), and normal
    where Student's t is due, so that plain percentiles cover 93 % at n = 30 (Hesterberg, The American Statistician
    2015, section 4.3).

    Args:
        means: (draws,) as `resampled_means` gives.
        problems: n; of an average over benchmarks that of the smallest.

    Returns:
        "value", "low", "high".
    """
    n = max(problems, 2)
    tail = norm.cdf(np.sqrt(n / (n - 1)) * t.ppf((1 - level) / 2, n - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return {"value": float(value), "low": float(min(low, value)), "high": float(max(high, value))}


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
    figures = {name: interval(values[:, j].mean(), means[:, j], sizes[j]) for j, name in enumerate(columns)}
    return figures, {name: means[:, j] for j, name in enumerate(columns)}


def average(values: Sequence[float], means: Sequence[np.ndarray], problems: Sequence[int]) -> dict[str, float]:
    """The plain mean of several benchmarks' figures, each benchmark resampled on its own."""
    return interval(float(np.mean(values)), np.mean(means, axis=0), min(problems))
