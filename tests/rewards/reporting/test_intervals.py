"""Intervals against scipy, closed forms, and the coverage that they promise."""

import numpy as np
import pytest
from scipy.stats import beta, binomtest, linregress, norm, t, ttest_1samp
from theory_verdicts import exponent_near

from rewards.reporting.intervals import (
    bootstrap_mean,
    bootstrap_power_law,
    expanded_percentiles,
    least_squares,
    percentiles,
    power_law,
    resampled_means,
    student,
    wilson,
)


@pytest.mark.parametrize("successes, n", [(0, 20), (3, 20), (20, 20), (1964, 2000)])
def test_wilsons_interval_has_its_closed_form(successes, n):
    share, z = successes / n, norm.ppf(0.975)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    assert wilson(successes, n) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_intervals_over_few_seeds_are_students():
    values = [0.51, 0.55, 0.6]
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert student(values) == pytest.approx((np.mean(values), expected.low, expected.high))
    assert student([0.3]) == (0.3, 0.3, 0.3)


def test_the_bootstrap_of_a_mean_resamples_whole_rows():
    values = np.random.default_rng(0).normal(size=(400, 3)) + [0, 1, 2]
    mean, interval = bootstrap_mean(values)
    half = 1.96 * values.std(0) / 20
    np.testing.assert_allclose(mean, values.mean(0))
    np.testing.assert_allclose(interval, np.stack([mean - half, mean + half], -1), atol=0.02)
    # three copies of a question's outcome are no more evidence than one
    copies = bootstrap_mean(np.repeat(values[:, :1], 3, axis=1).mean(1))[1]
    np.testing.assert_allclose(copies, bootstrap_mean(values[:, 0])[1])
    assert bootstrap_mean(np.ones(5))[1].tolist() == [1, 1]


def test_draws_are_means_of_the_values():
    values = np.array([[0.0, 10], [1, 20], [0.5, 30]])
    means = resampled_means(values, [True, False], draws=4000)
    np.testing.assert_allclose(means.mean(axis=0), values.mean(axis=0), rtol=0.02)
    np.testing.assert_allclose(means.std(axis=0), values.std(axis=0) / np.sqrt(3), rtol=0.05)
    assert expanded_percentiles(0.5, means[:, 0], 3)["low"] >= 0


def test_a_share_without_spread_has_draws_of_the_exact_interval():
    values = np.stack([np.zeros(30), np.ones(30), np.zeros(30)], axis=1)
    means = resampled_means(values, [True, True, False], draws=50_000)
    exact = binomtest(0, 30).proportion_ci(method="exact").high
    assert exact == pytest.approx(beta(1, 30).ppf(0.975))
    assert np.quantile(means[:, 0], 0.975) == pytest.approx(exact, abs=0.003)
    assert np.quantile(means[:, 1], 0.025) == pytest.approx(1 - exact, abs=0.003)
    assert (means[:, 2] == 0).all()  # a figure that is no share, such as a number of tokens


def test_expanded_percentiles_are_students_for_a_normal_mean():
    n, rng = 10, np.random.default_rng(0)
    means = rng.normal(0.0, np.sqrt((n - 1) / n) / np.sqrt(n), 400_000)  # spread of a bootstrap of unit variance
    found = expanded_percentiles(0.0, means, n)
    half = t.ppf(0.975, n - 1) / np.sqrt(n)
    assert (found["low"], found["high"]) == pytest.approx((-half, half), rel=0.02)
    assert expanded_percentiles(0.9, np.zeros(5), 3) == {"value": 0.9, "low": 0.0, "high": 0.9}


def test_percentiles_leave_out_draws_in_which_a_score_is_undefined():
    draws = np.arange(101.0)
    found = percentiles({"a": np.r_[50.0, draws, np.nan, np.nan], "b": np.r_[np.nan, draws], "c": np.r_[1.0, np.nan]})
    assert found["a"] == pytest.approx({"value": 50.0, "low": 2.5, "high": 97.5})
    assert found["b"] == {"value": None, "low": None, "high": None}
    assert found["c"] == {"value": 1.0, "low": None, "high": None}


def test_least_squares_has_the_interval_of_a_regression():
    rng = np.random.default_rng(0)
    x = rng.random(12)
    y = 3 * x + 1 + 0.1 * rng.normal(size=12)
    found, half = least_squares([np.ones(12), x], y)
    line = linregress(x, y)
    assert found == pytest.approx([line.intercept, line.slope])
    assert half == pytest.approx(t.ppf(0.975, 10) * np.array([line.intercept_stderr, line.stderr]))


def test_a_power_law_has_its_exponent_and_an_interval_of_no_width():
    x = np.array([4, 8, 16, 64])
    row = power_law(x, 3 * x**1.5)
    np.testing.assert_allclose([row["exponent"], *row["ci95"], row["last"]], 1.5)
    assert power_law(x, [1, 2, 0, 3]) == {"exponent": None, "ci95": None, "last": None}
    bent = power_law(x, 3 * x**1.5 + x)
    assert bent["ci95"][0] < bent["exponent"] < bent["ci95"][1]
    assert not exponent_near(power_law(x, [1, 2, 0, 3]), 1.5)


def test_the_bootstrap_covers_the_exponent_of_noisy_draws():
    rng, x = np.random.default_rng(0), np.array([2, 4, 8, 16])
    covered = 0
    for _ in range(100):
        samples = x[:, None] ** 1.2 * rng.lognormal(sigma=0.5, size=(4, 80))
        low, high = bootstrap_power_law(x, samples, rng, resamples=200)["ci95"]
        covered += low < 1.2 < high
    assert 88 <= covered <= 99
