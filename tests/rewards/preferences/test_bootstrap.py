"""Outcomes, floors, the bootstrap against exact and naive computations, correlation with length, tables."""

import numpy as np
import pytest
from scipy.stats import binom, spearmanr
from table_cells import cells

from rewards.preferences import Comparisons, Group, floors, outcomes
from rewards.preferences import bootstrap as statistics
from rewards.preferences.bootstrap import Layout, share
from rewards.preferences.comparisons import length_scores, random_scores


def accuracy(wins, scored):
    return {"accuracy": share(wins.sum(axis=1), scored.sum(axis=1))}


def layout(unit, cell=None, cells=1, scores=accuracy):
    unit = np.asarray(unit)
    return Layout(unit, np.zeros(len(unit), dtype=int) if cell is None else np.asarray(cell), cells, scores)


def comparisons_of(*texts):
    groups = [Group(str(n), f"prompt {n}", list(responses)) for n, responses in enumerate(texts)]
    return Comparisons.build(groups, [(n, 0, 1) for n in range(len(groups))], (), [])


def test_outcomes_keep_ties_and_missing_scores_apart():
    comparisons = comparisons_of(("a", "b"), ("a", "b"), ("a", "b"), ("a", "b"), ("same", "same"), ("same", "same"))
    scores = [[1, 0], [0, 1], [1, 1], [1, None], [1 + 1e-7, 1], [float("nan"), 1]]
    np.testing.assert_array_equal(outcomes(comparisons, scores), [1, 0, 0.5, np.nan, 0.5, np.nan])
    counts = {"comparisons": 6, "won": 1, "tied": 2, "lost": 1, "not_scored": 2}
    assert statistics.count(outcomes(comparisons, scores)) == counts


def test_misaligned_scores_and_comparisons_are_refused():
    comparisons = comparisons_of(("a", "b"), ("a", "b"))
    with pytest.raises(ValueError, match="1 lists of scores for 2 groups"):
        outcomes(comparisons, [[1, 2]])
    with pytest.raises(ValueError, match="group 1: 3 scores for 2 responses"):
        outcomes(comparisons, [[1, 2], [1, 2, 3]])
    index = np.array([0])
    groups = [Group("0", "p", ["a", None])]
    with pytest.raises(ValueError, match="absent response"):
        Comparisons(groups, index, index, index + 1, {}, [])
    with pytest.raises(ValueError, match="`worse` points outside"):
        Comparisons(groups, index, index, index + 2, {}, [])
    with pytest.raises(ValueError, match="domain: give one value per comparison, 1"):
        Comparisons(groups, index, index, index, {"domain": np.array(["a", "b"])}, [])


def test_floors_name_the_better_direction_of_length():
    short_wins = comparisons_of(("a", "bbb"), ("a", "bb"), ("aaa", "b"), ("aa", "bb"))
    found = floors(short_wins, seed=3)
    assert list(found) == ["length only (shorter wins)", "random"]
    assert found["length only (shorter wins)"].tolist() == [1, 1, 0, 0.5]
    assert floors(comparisons_of(("aaa", "b")))["length only (longer wins)"].tolist() == [1]
    np.testing.assert_array_equal(found["random"], outcomes(short_wins, random_scores(short_wins.groups, 3)))

    def tokenizer(text, add_special_tokens):
        return {"input_ids": text.split()}

    lengths = length_scores([Group("0", "p", ["one two", "three", None])], tokenizer)
    np.testing.assert_array_equal(lengths, [[2, 1, np.nan]])


def test_one_comparison_a_prompt_gives_the_binomial_interval():
    n, won = 800, 560
    outcome = (np.arange(n) < won).astype(float)
    found = statistics.estimates(layout(np.arange(n)), outcome)["accuracy"]
    exact = binom(n, won / n).ppf([0.025, 0.975]) / n
    assert found["value"] == won / n
    np.testing.assert_allclose([found["low"], found["high"]], exact, atol=1.5 / n)


def test_cells_and_correlated_comparisons_agree_with_a_naive_bootstrap():
    generator = np.random.default_rng(0)
    unit = np.repeat(np.arange(60), 5)
    skill = generator.random(60)[unit]
    outcome = np.where(generator.random(300) < skill, 1.0, generator.choice([0, 0.5, np.nan], 300))
    cell = generator.integers(2, size=300)

    def macro(wins, scored):
        return {"macro": share(wins, scored).mean(axis=1)}

    found = statistics.estimates(layout(unit, cell, 2, macro), outcome, draws=4000)["macro"]
    naive = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(unit == u) for u in generator.integers(60, size=60)])
        o, c = outcome[rows], cell[rows]
        naive.append(np.mean([np.mean(o[(c == k) & ~np.isnan(o)] == 1) for k in (0, 1)]))
    np.testing.assert_allclose([found["low"], found["high"]], np.quantile(naive, [0.025, 0.975]), atol=0.01)
    as_is = [np.mean(outcome[(cell == k) & ~np.isnan(outcome)] == 1) for k in (0, 1)]
    assert found["value"] == pytest.approx(np.mean(as_is))


def test_copies_of_a_comparison_do_not_narrow_the_interval():
    outcome = (np.arange(100) % 3 == 0).astype(float)
    once = statistics.estimates(layout(np.arange(100)), outcome)["accuracy"]
    copied = statistics.estimates(layout(np.repeat(np.arange(100), 5)), np.repeat(outcome, 5))["accuracy"]
    independent = statistics.estimates(layout(np.arange(500)), np.repeat(outcome, 5))["accuracy"]
    assert copied == once
    assert independent["high"] - independent["low"] < 0.6 * (once["high"] - once["low"])


def test_rows_of_one_prompt_are_one_unit():
    groups = [Group(str(n), "the same prompt" if n < 2 else f"prompt {n}", ["a", "b"]) for n in range(4)]
    units = Comparisons.build(groups, [(n, 0, 1) for n in range(4)], (), []).units
    assert units[0] == units[1]
    assert len(set(units.tolist())) == 3


def test_order_and_seed():
    generator = np.random.default_rng(1)
    unit, outcome = generator.integers(40, size=200), generator.integers(2, size=200).astype(float)
    order = generator.permutation(200)
    first = statistics.estimates(layout(unit), outcome, draws=500, seed=1)
    assert statistics.estimates(layout(unit[order]), outcome[order], draws=500, seed=1) == first
    assert statistics.estimates(layout(unit), outcome, draws=500, seed=2) != first
    with pytest.raises(ValueError, match="draws is 0"):
        statistics.estimates(layout(unit), outcome, draws=0)


def test_difference_is_paired_and_on_what_both_judges_scored():
    generator = np.random.default_rng(2)
    first = generator.integers(2, size=400).astype(float)
    second = first.copy()
    second[:20] = 0
    lost = int(first[:20].sum())
    both = layout(np.arange(400))
    assert statistics.differences(both, first, first, draws=100)["accuracy"] == {"value": 0, "low": 0, "high": 0}
    found = statistics.differences(both, first, second)["accuracy"]
    exact = binom(400, lost / 400).ppf([0.025, 0.975]) / 400
    assert found["value"] == pytest.approx(lost / 400)
    np.testing.assert_allclose([found["low"], found["high"]], exact, atol=1.5 / 400)

    second[first == 0] = np.nan  # what is left, the first judge has won all of
    found = statistics.differences(both, first, second, draws=100)["accuracy"]
    assert found["value"] == pytest.approx(lost / first.sum())


def test_a_score_without_comparisons_is_none():
    found = statistics.estimates(layout([0, 1]), np.array([np.nan, np.nan]), draws=5)
    assert found == {"accuracy": {"value": None, "low": None, "high": None}}


def test_length_correlation_over_all_and_within_prompts():
    # longer prompts have longer responses and higher scores; within a prompt the shorter one scores higher
    texts = [["x" * (10 * n + 2), "x" * (10 * n + 1)] for n in range(1, 9)]
    groups = [Group(str(n), f"p{n}", responses) for n, responses in enumerate(texts)]
    scores = [[10 * n + 1, 10 * n + 2] for n in range(1, 9)]
    found = statistics.length_correlation(groups, scores)
    flat = [len(t) for g in groups for t in g.responses], [s for row in scores for s in row]
    assert found == {
        "responses": 16,
        "all": pytest.approx(spearmanr(*flat).statistic),
        "within_prompt": pytest.approx(-1),
    }

    scores[0] = [None, float("nan")]
    assert statistics.length_correlation(groups, scores)["responses"] == 14
    constant = statistics.length_correlation(groups, [[1.0, 1.0]] * 8)
    assert (constant["all"], constant["within_prompt"]) == (None, None)


def test_within_prompt_correlation_pools_ranks_of_groups_of_any_size():
    generator = np.random.default_rng(4)
    groups, scores, pooled = [], [], []
    for n, size in enumerate([2, 3, 5, 3, 8]):
        lengths, row = generator.permutation(size) + 1, generator.permutation(size)
        groups.append(Group(str(n), f"p{n}", ["x" * k for k in lengths.tolist()]))
        scores.append(row.tolist())
        pooled += [((r - (size - 1) / 2) / size, (k - (size + 1) / 2) / size) for r, k in zip(row, lengths)]
    expected = np.corrcoef(np.array(pooled).T)[0, 1]
    assert statistics.length_correlation(groups, scores)["within_prompt"] == pytest.approx(expected)


def test_markdown_summaries_have_a_row_a_judge():
    score = {"value": 0.7021, "low": 0.689, "high": 0.716}
    none = {"value": None, "low": None, "high": None}
    summary = {"scores": {"pooled_average": score, "hard": none}, "counts": {"tied": 3, "not_scored": 1}}
    head, _, row = cells(statistics.markdown_summaries({"a|b": summary}))
    assert head == ["judge", "pooled average", "hard", "ties", "not scored"]
    assert row == ["a\\|b", "70.2 (68.9 to 71.6)", "–", "3", "1"]
    assert cells(statistics.markdown_summaries({"a": summary}, ["hard"]))[0][:3] == ["judge", "hard", "ties"]
