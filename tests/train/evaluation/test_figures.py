"""pass@k, majority and best-of-k against counting over all subsets; intervals against their promised coverage."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from train.evaluation.figures import average, best_of, majority, pass_at_k, response_figures, summarise


def test_pass_at_k_is_the_mean_over_all_subsets():
    rng = np.random.default_rng(0)
    right = (rng.random((12, 7)) < rng.random((12, 1))).astype(float)
    for k in range(1, 8):
        subsets = list(itertools.combinations(range(7), k))
        expected = [np.mean([row[list(s)].any() for s in subsets]) for row in right]
        np.testing.assert_allclose(pass_at_k(right, k), expected, atol=1e-12)
    with pytest.raises(ValueError, match="between 1 and 7"):
        pass_at_k(right, 8)


def test_pass_at_k_of_many_samples_stays_exact():
    right = np.zeros((3, 1024))
    right[1, 0] = right[2] = 1
    np.testing.assert_allclose(pass_at_k(right, 512), [0, 0.5, 1], atol=1e-9)


def test_majority_by_hand():
    right = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]], dtype=float)
    clusters = [[0, 0, 1], [0, 1, 1], [0, 1, None], [None] * 3, [0, None, None]]
    np.testing.assert_allclose(majority(right, clusters), [1, 0, 0.5, 0, 1])


def test_best_of_averages_ties():
    right = np.array([[1, 0, 0], [0, 1, 0]], dtype=float)
    np.testing.assert_allclose(best_of(right, np.array([[2.0, 1, 0], [5, 5, 5]])), [1, 1 / 3])


def test_response_figures():
    texts = [r"\boxed{5}", "```python\nprint(1)\n```", "important imports of \\boxed{}", "x\nimport sympy\n"]
    ids = [[1, 2, 3], [7] * 12, [4], [1, 2, 1, 2, 1, 2, 1, 2]]
    figures = response_figures(texts, ids, [True, False, True, True])
    assert figures["tokens"].tolist() == [3, 12, 1, 8]
    assert figures["truncated"].tolist() == [0, 1, 0, 0]
    assert figures["boxed"].tolist() == [1, 0, 0, 0]
    assert figures["code"].tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(figures["repetition"], [0, 8 / 9, 0, 3 / 5])


@pytest.mark.slow
@pytest.mark.parametrize("problems, samples", [(30, 16), (60, 1)])
def test_intervals_cover_what_they_promise(problems, samples):
    rng = np.random.default_rng(0)
    trials, mean, hits = 600, 0.2, 0
    for trial in range(trials):
        values = rng.binomial(samples, rng.beta(0.5, 2, problems)) / samples
        figure = summarise({"a": values}, draws=400, seed=trial)[0]["a"]
        hits += figure["low"] <= mean <= figure["high"]
    assert abs(hits / trials - 0.95) <= 0.02


@pytest.mark.slow
def test_the_interval_of_an_average_covers_too():
    rng = np.random.default_rng(1)
    sizes, means, hits = (30, 30, 60), (0.2, 0.5, 0.7), 0
    for trial in range(400):
        drawn = [rng.binomial(8, rng.beta(2 * m, 2 - 2 * m, n)) / 8 for n, m in zip(sizes, means)]
        parts = [summarise({"a": v}, 300, 10 * trial + j) for j, v in enumerate(drawn)]
        figure = average([p[0]["a"]["value"] for p in parts], [p[1]["a"] for p in parts], sizes)
        assert figure["value"] == pytest.approx(np.mean([v.mean() for v in drawn]))
        hits += figure["low"] <= np.mean(means) <= figure["high"]
    assert abs(hits / 400 - 0.95) <= 0.025


def test_nothing_right_is_no_certainty():
    figures, _ = summarise({"none": np.zeros(30), "all": np.ones(30), "tokens": np.ones(30)}, draws=20_000)
    exact = binomtest(0, 30).proportion_ci(method="exact")
    assert figures["none"]["low"] == figures["none"]["value"] == 0
    assert figures["none"]["high"] == pytest.approx(exact.high, abs=0.005)
    assert figures["all"]["low"] == pytest.approx(1 - exact.high, abs=0.005)
    assert figures["tokens"] == {"value": 1, "low": 1, "high": 1}
