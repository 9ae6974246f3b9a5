"""Constructed MDPs have the properties that they are made for."""

import math

import numpy as np
import pytest

from rewards.theory import constructions
from rewards.theory.token_mdp import soft_optimal, value
from rewards.theory.worst_case import worst_imitator


def test_the_majority_mdp_has_the_gaps_of_an_earlier_trial():
    gaps = []
    for horizon in (4, 8, 16, 32):
        mdp = constructions.majority(horizon)
        expert = soft_optimal(*mdp, float(horizon))[2]
        gaps.append((value(*mdp, expert) - worst_imitator(*mdp, expert, 1e-4)[0])[0] / 1e-4)
    np.testing.assert_allclose(gaps, [0.97, 2.88, 8.37, 24.0], rtol=5e-3)


@pytest.mark.parametrize("alpha", [0.1, 3.0])
def test_the_expert_of_the_matched_majority_is_indifferent_while_it_votes(alpha):
    mdp = constructions.matched_majority(8, alpha)
    _, v, expert = soft_optimal(*mdp, alpha)
    for h in range(4):
        np.testing.assert_allclose(np.exp(expert[h]), 0.5)
        np.testing.assert_allclose(v[h], (8 - h) * alpha * math.log(2))
    np.testing.assert_allclose(np.exp(expert[4][0, 1]), [0.9, 0.1])


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: constructions.majority(5), "even"),
        (lambda: constructions.matched_majority(0, 1.0), "even"),
        (lambda: constructions.two_branches(1, 6, 1.0, 0.1), "at least 2"),
        (lambda: constructions.two_paths(20, 6, 1.0, 0.1), "H \\* eps <= 1"),
        (lambda: constructions.two_paths(2, 6, 1.0, 0.1), "H >= 3"),
        (lambda: constructions.two_paths(3, 2, 1.0, 0.1), "e\\^eps / vocabulary"),
    ],
)
def test_sizes_for_which_a_construction_does_not_hold_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
