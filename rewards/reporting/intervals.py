"""Intervals: of shares, of means over few seeds, of figures that are resampled, and of exponents. All are 95 % ones.

Whoever reports a number takes its interval from here. Where scipy has one, it is scipy's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, bootstrap, linregress, norm, t

DRAWS_AT_A_TIME = 1000  # for memory's sake
EXACT = 10**9  # problems at which an expanded percentile is the plain one


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of `n` independent trials (Wilson, JASA 1927)."""
    interval = binomtest(int(successes), int(n)).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def student(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of a few independent numbers, such as one a seed, and its interval by Student's t.

    One number alone says nothing of its spread: both ends are then that number.
    """
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, mean, mean
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def bootstrap_mean(values: np.ndarray, resamples: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis of ``values (n, ...)``, n > 1, and its 95% percentile bootstrap interval ``(..., 2)``.

    Whole rows are drawn, so correlated columns (the pairs of one question) do not narrow the interval of their mean.
    """
    settings = {"n_resamples": resamples, "method": "percentile", "batch": 50, "rng": np.random.default_rng(seed)}
    low, high = bootstrap((values,), np.mean, axis=0, **settings).confidence_interval
    return values.mean(0), np.stack([low, high], axis=-1)


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
    sizes = [min(DRAWS_AT_A_TIME, draws - start) for start in range(0, draws, DRAWS_AT_A_TIME)]
    means = np.concatenate([generator.multinomial(n, np.full(n, 1 / n), size=s) @ values / n for s in sizes])
    tail = generator.beta(1, n, size=draws)
    means[:, (values == 0).all(axis=0) & shares] = tail[:, None]
    means[:, (values == 1).all(axis=0) & shares] = 1 - tail[:, None]
    return means


def expanded_percentiles(value: float, means: np.ndarray, problems: int, level: float = 0.95) -> dict[str, float]:
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


def percentiles(scores: dict[str, np.ndarray], level: float = 0.95) -> dict[str, dict]:
    """Percentile intervals of scores whose first entry is as measured and whose others are bootstrap draws.

    Args:
        scores: name -> (1 + draws,) float, NaN where a score is undefined; such draws do not count.

    Returns:
        name -> {"value", "low", "high"}, None where undefined.
    """
    tails = [(1 - level) / 2, (1 + level) / 2]
    result = {}
    for name, values in scores.items():
        drawn = values[1:][~np.isnan(values[1:])]
        low, high = np.quantile(drawn, tails).tolist() if len(drawn) else (None, None)
        value = None if np.isnan(values[0]) else float(values[0])
        result[name] = {"value": value, "low": None if value is None else low, "high": None if value is None else high}
    return result


def least_squares(columns: Sequence[Sequence[float]], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of y on the columns, one of which may be all ones, and half the width of each one's interval.

    Args:
        columns: of explaining values, linearly independent, fewer than there are values in `y`.
        y: what is explained.
    """
    x, explained = np.array(columns).T, np.asarray(y)
    found, *_ = np.linalg.lstsq(x, explained, rcond=None)
    free = len(y) - x.shape[1]
    variance = ((explained - x @ found) ** 2).sum() / free * np.diag(np.linalg.inv(x.T @ x))
    return found, t.ppf(0.975, free) * np.sqrt(variance)


def power_law(x: Sequence[float], y: Sequence[float]) -> dict:
    """Slope of log y on log x by least squares, with its 95% interval, and the slope between the last two points.

    All are None where some y is not positive: then there is no power law.
    """
    if min(y) <= 0:
        return {"exponent": None, "ci95": None, "last": None}
    log_x, log_y = np.log(x), np.log(y)
    line = linregress(log_x, log_y)
    half = t.ppf(0.975, len(x) - 2) * line.stderr
    last = float((log_y[-1] - log_y[-2]) / (log_x[-1] - log_x[-2]))
    return {"exponent": float(line.slope), "ci95": [float(line.slope - half), float(line.slope + half)], "last": last}


def bootstrap_power_law(
    x: Sequence[float], samples: np.ndarray, rng: np.random.Generator, resamples: int = 1000
) -> dict:
    """Slope of log of the mean of ``samples [len(x), D]`` on log x, its 95% interval from resampled draws."""
    centre = power_law(x, samples.mean(1))
    if centre["exponent"] is None:
        return centre
    drawn = rng.integers(samples.shape[1], size=(resamples, *samples.shape))
    means = np.take_along_axis(samples[None], drawn, axis=2).mean(2)
    log_x = np.log(x) - np.log(x).mean()
    slopes = np.log(np.maximum(means, np.finfo(float).tiny)) @ log_x / (log_x @ log_x)
    return centre | {"ci95": np.percentile(slopes, [2.5, 97.5]).tolist()}
