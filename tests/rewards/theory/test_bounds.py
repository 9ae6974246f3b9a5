"""The bounds of hard and soft RL are attained by the constructions made for them."""

import itertools

import numpy as np
import pytest

from rewards.theory import bounds, constructions
from rewards.theory.token_mdp import mode, soft_optimal, value
from rewards.theory.worst_case import worst_mode


@pytest.mark.parametrize("eps", [1e-3, 0.05])
def test_constructions_attain_the_bounds_of_hard_rl(eps):
    for alpha, horizon in itertools.product((0.5, 2.0), (3, 8)):
        mdp = constructions.two_paths(horizon, 6, alpha, eps)
        expert = soft_optimal(*mdp, alpha)[2]
        loss = value(*mdp, mode(*mdp))[0] - worst_mode(*mdp, expert, eps)
        assert loss == pytest.approx(bounds.mode_to_best(alpha, horizon, eps))
        mdp = constructions.two_branches(horizon, 6, alpha, eps)
        expert = soft_optimal(*mdp, alpha)[2]
        gap, most = value(*mdp, expert)[0] - worst_mode(*mdp, expert, eps), bounds.mode_to_expert(alpha, horizon, eps)
        assert 0.8 * most < gap <= most
        # no response of the bad branch can win against any more of an advantage
        better = [r * 1.001 for r in mdp[1]]
        expert = soft_optimal(mdp[0], better, alpha)[2]
        assert worst_mode(mdp[0], better, expert, eps) > 0


def test_swapped_odds_attain_the_bound_of_the_soft_gap():
    alpha, eps, horizon = 1.3, 0.7, 5
    mdp = constructions.even_odds(horizon, alpha, eps)
    _, v, expert = soft_optimal(*mdp, alpha)
    swapped = [x[..., ::-1] for x in expert]
    assert np.abs(expert[0] - swapped[0]).max() == pytest.approx(eps)
    soft = value(mdp[0], [r - alpha * x for r, x in zip(mdp[1], swapped, strict=True)], swapped)
    assert v[0][0, 0] - soft[0] == pytest.approx(bounds.imitation_soft(alpha, horizon, eps))
