"""Figures out of runs' files, made by hand."""

import pytest

from train.tasks.chat_evaluation import accuracy
from train.tasks.chat_tables import cell, draw_curves, gain, over_seeds, responses_until, verdict


def run(sampled, greedy, tokens=20.0, ended=1.0, curve=()):
    samples = {"decoding": "sampled", "mean_tokens": tokens, "ended": ended} | accuracy(sampled)
    curves = {"accuracy": [list(range(4, 4 * len(curve) + 1, 4)), list(curve)]}
    return {"heldout": [samples, {"decoding": "greedy"} | accuracy(greedy)], "curves": curves}


def test_gains_are_paired_by_question():
    base, policy = run([0, 0, 1, 1], [1, 1, 0, 0]), run([1, 1, 1, 1], [1, 1, 1, 0])
    assert gain([policy], [base], "sampled", "sampled")[0] == 0.5
    assert gain([policy], [base], "sampled", "greedy")[0] == 0.5
    mean, low, high = gain([policy, policy], [base, base], "greedy", "greedy")
    assert mean == 0.25
    assert low <= 0 < high
    assert gain([base], [base], "greedy", "greedy") == (0, 0, 0)


def test_an_interval_is_over_seeds_where_there_are_several():
    assert over_seeds([run([0.5, 0.5], [0, 0])], "heldout", "sampled") == "0.500 (0.500 to 0.500)"
    runs = [run([x], [0]) for x in (0.4, 0.5, 0.6)]
    assert over_seeds(runs, "heldout", "sampled") == "0.500 (0.252 to 0.748)"  # t(2) = 4.303, 0.1 / sqrt(3)
    assert cell(runs[0], "heldout", "sampled", "ended") == 1


@pytest.mark.parametrize(
    "after, says",
    [
        (run([0.6] * 9, [0.8] * 9), "gain"),
        (run([0.35] * 9, [0.75] * 9), "loss"),
        (run([0, 0.8] * 4 + [0.4], [0.8] * 9), "nothing shown"),
        (run([0.2] * 9, [0.8] * 9, tokens=3), "collapse: short answers"),
        (run([0.6] * 9, [0.6] * 9), "collapse: wrong answers"),  # greedy lost what sampling gained
        (run([0.2] * 9, [0.8] * 9, ended=0.1), "collapse: responses do not end"),
    ],
)
def test_verdicts_are_named_by_what_is_seen(after, says):
    assert verdict([after], [run([0.4] * 9, [0.8] * 9)]) == says


def test_responses_until_counts_rollouts_that_stay_there():
    assert responses_until(run([0], [0], curve=[0.2, 0.9, 0.1, 0.6, 0.6, 0.6]), 0.6) == 6 * 64
    assert responses_until(run([0], [0], curve=[0.2, 0.9, 0.1]), 0.6) is None


def test_the_figure_leaves_out_what_was_not_logged(tmp_path):
    runs = {"a": [run([0], [0], curve=[0.1, 0.2]), run([0], [0], curve=[0.3])], "b": [{"curves": {}}]}
    draw_curves(runs, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
