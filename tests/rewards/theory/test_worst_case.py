"""The worst imitator against linear programmes, grids and enumeration written for these tests."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import linprog

from rewards.theory.token_mdp import response_sums, soft_optimal, tree, value
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
