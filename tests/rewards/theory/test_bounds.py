"""Exact dynamic programming on token MDPs against enumeration, linear programmes and grids written for these tests."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from rewards.endorm import endogenous_rewards
from rewards.frozen.frozen_base import TokenScores
from rewards.theory import bounds, constructions
from rewards.theory.token_mdp import endogenous_reward, mode, response_sums, soft_optimal, tree, value
from rewards.theory.worst_case import (
    largest_pair_shift,
    lowest_mode,
    possible_modes,
    shift_mass,
    worst_imitator,
    worst_mode,
)


def random_mdp(seed, vocabulary, horizon, draws=3):
    rng = np.random.default_rng(seed)
    successors = tree(vocabulary, horizon)
    return successors, [rng.random((draws, *layer.shape)) for layer in successors]


def box(p, eps):
    return list(zip(p * math.exp(-eps), p * math.exp(eps), strict=True))


def test_the_soft_optimum_draws_responses_by_their_exponentiated_reward():
    successors, rewards = random_mdp(0, 3, 4)
    alpha = np.array([0.2, 1.0, 5.0])
    _, v, policy = soft_optimal(successors, rewards, alpha)
    for d in range(3):
        totals = []
        for response in itertools.product(range(3), repeat=4):
            state, total = 0, 0.0
            for h, token in enumerate(response):
                total += rewards[h][d, state, token]
                state = successors[h][state, token]
            totals.append(total)
        totals = np.array(totals)
        np.testing.assert_allclose(response_sums(successors, rewards)[d], totals)
        weights = np.exp((totals - totals.max()) / alpha[d])
        probability = weights / weights.sum()
        np.testing.assert_allclose(np.exp(response_sums(successors, policy)[d]), probability)
        assert value(successors, rewards, policy)[d] == pytest.approx(probability @ totals)
        assert v[0][d, 0] == pytest.approx(alpha[d] * np.log(weights.sum()) + totals.max())
        assert value(successors, rewards, mode(successors, rewards))[d] == pytest.approx(totals.max())


@pytest.mark.parametrize("terminal", ["zero", "uniform"])
def test_the_reward_is_that_of_the_library_along_every_response(terminal):
    successors, logits = random_mdp(1, 2, 3, draws=1)
    alpha = 0.7
    end = alpha * math.log(2) if terminal == "uniform" else 0.0
    ours, _ = endogenous_reward(successors, logits, alpha, end)
    for response in itertools.product(range(2), repeat=3):
        state, q, v, found = 0, [], [], []
        for h, token in enumerate(response):
            row = torch.tensor(logits[h][0, state])
            q.append(row[token])
            v.append(alpha * torch.logsumexp(row / alpha, 0))
            found.append(ours[h][0, state, token])
            state = successors[h][state, token]
        v.append(torch.tensor(math.nan))  # the base's own V after the end must not be read
        scores = TokenScores(log_probs=torch.zeros(3), q=torch.stack(q), v={alpha: torch.stack(v)}, vocab_size=2)
        np.testing.assert_allclose(endogenous_rewards(scores, alpha, terminal=terminal), found, rtol=1e-6)


@pytest.mark.parametrize("eps", [0.01, 0.4, 2.0])
def test_shifted_mass_solves_the_linear_programme(eps):
    rng = np.random.default_rng(2)
    p, scores = rng.dirichlet(np.ones(5), size=20), rng.normal(size=(20, 5))
    shifted = shift_mass(p, scores, eps)
    np.testing.assert_allclose(shifted.sum(-1), 1)
    assert (np.abs(np.log(shifted / p)) <= eps + 1e-9).all()
    for q, row, costs in zip(shifted, p, scores, strict=True):
        assert q @ costs == pytest.approx(linprog(costs, A_eq=np.ones((1, 5)), b_eq=1, bounds=box(row, eps)).fun)


def test_the_worst_imitator_is_the_worst_of_all_extreme_ones():
    successors, rewards = random_mdp(3, 2, 3)
    eps = np.array([0.05, 0.3, 1.0])
    expert = soft_optimal(successors, rewards, 0.5)[2]
    found, policy = worst_imitator(successors, rewards, expert, eps)
    np.testing.assert_allclose(value(successors, rewards, policy), found)
    first, least = np.exp(np.concatenate([x[..., 0] for x in expert], axis=1)), np.full(3, np.inf)
    low = np.maximum(first * np.exp(-eps)[:, None], 1 - (1 - first) * np.exp(eps)[:, None])
    high = np.minimum(first * np.exp(eps)[:, None], 1 - (1 - first) * np.exp(-eps)[:, None])
    for choice in itertools.product([False, True], repeat=7):
        p = np.where(choice, low, high)
        layers = [np.log(np.stack([x, 1 - x], -1)) for x in np.split(p, [1, 3], axis=1)]
        least = np.minimum(least, value(successors, rewards, layers))
    np.testing.assert_allclose(found, least)


def test_the_shift_of_a_pair_of_responses_is_the_largest_by_linear_programmes():
    rng, eps = np.random.default_rng(4), 0.6
    steps = rng.dirichlet(np.ones(3) * 2, size=(2, 6, 1, 3))  # [2, D, P, H, n]
    steps[1, :, :, :2] = steps[0, :, :, :2]  # the states are the same up to the step at which the tokens part
    tokens = np.array([[[0, 1, 2]], [[0, 2, 1]]])
    found = largest_pair_shift(steps, tokens, np.array([1]), eps)[:, 0]
    one = {"A_eq": np.ones((1, 3)), "b_eq": 1}
    for d in range(6):
        x, y = steps[0, d, 0], steps[1, d, 0]
        up = -linprog([0, 0, -1], bounds=box(x[2], eps), **one).fun / x[2, 2]
        down = linprog([0, 1, 0], bounds=box(y[2], eps), **one).fun / y[2, 1]
        rest = math.exp(found[d]) * down / up * x[1, 1] / x[1, 2]  # what is left: the ratio where they part
        best = -linprog([0, -1, rest], bounds=box(x[1], eps), **one).fun
        assert best == pytest.approx(0, abs=1e-9)  # q_1 - ratio * q_2 <= 0 for all q, with equality for some


@pytest.mark.parametrize("eps", [0.1, 1.0])
def test_the_lowest_mode_solves_a_linear_programme_at_each_state(eps):
    successors, rewards = random_mdp(5, 4, 2, draws=2)
    expert = soft_optimal(successors, rewards, 0.3)[2]
    lowest = lowest_mode(successors, expert, eps)
    for h, layer in enumerate(successors):
        for d, s in itertools.product(range(2), range(len(layer))):
            after = np.exp(lowest[h + 1][d, layer[s]])
            least = linprog(  # the least t with q_a * after_a <= t
                [0, 0, 0, 0, 1], A_ub=np.c_[np.diag(after), -np.ones(4)], b_ub=np.zeros(4),
                A_eq=[[1, 1, 1, 1, 0]], b_eq=1, bounds=[*box(np.exp(expert[h][d, s]), eps), (0, None)],
            ).fun  # fmt: skip
            assert math.exp(lowest[h][d, s]) == pytest.approx(least)


def test_possible_modes_are_those_of_a_grid_of_imitators():
    successors, rewards = random_mdp(6, 2, 2, draws=12)
    expert, eps = soft_optimal(successors, rewards, 0.5)[2], 0.3
    possible, nearly = possible_modes(successors, expert, eps), possible_modes(successors, expert, 0.97 * eps)
    seen = np.zeros_like(possible)
    for d in range(12):
        p = np.exp(np.concatenate([x[d, :, 0] for x in expert]))
        low = np.maximum(p * math.exp(-eps), 1 - (1 - p) * math.exp(eps))
        high = np.minimum(p * math.exp(eps), 1 - (1 - p) * math.exp(-eps))
        root, left, right = np.meshgrid(*np.linspace(low, high, 41).T)
        responses = np.stack([root * left, root * (1 - left), (1 - root) * right, (1 - root) * (1 - right)])
        seen[d] = (responses >= responses.max(0) - 1e-12).any((1, 2, 3))
    assert (seen <= possible).all()
    assert (nearly <= seen).all()
    assert possible.sum() < possible.size
    assert (possible.sum(1) > 1).any()


@pytest.mark.parametrize("vocabulary, horizon", [(2, 6), (3, 4)])
def test_the_worst_mode_is_the_same_with_and_without_a_list_of_all_responses(vocabulary, horizon):
    successors, rewards = random_mdp(7, vocabulary, horizon, draws=8)
    for eps, alpha in itertools.product((0.02, 0.2), (0.3, 3.0)):
        expert = soft_optimal(successors, rewards, alpha)[2]
        allowed = possible_modes(successors, expert, np.full(8, eps))
        listed = np.where(allowed, response_sums(successors, rewards), np.inf).min(1)
        for d in range(8):
            one = [[x[d : d + 1] for x in layers] for layers in (rewards, expert)]
            assert worst_mode(successors, *one, eps) == pytest.approx(listed[d])


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


def test_a_token_that_is_never_drawn_adds_nothing():
    successors, rewards = random_mdp(8, 2, 2)
    policy = mode(successors, rewards)
    assert np.isfinite(value(successors, [r - p for r, p in zip(rewards, policy, strict=True)], policy)).all()


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
