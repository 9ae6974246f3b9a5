"""Token MDPs against enumeration of all responses."""

import itertools
import math

import numpy as np
import pytest
import torch

from rewards.endorm import endogenous_rewards
from rewards.frozen.frozen_base import TokenScores
from rewards.theory.token_mdp import endogenous_reward, mode, response_sums, soft_optimal, tree, value


def random_mdp(seed, vocabulary, horizon, draws=3):
    rng = np.random.default_rng(seed)
    successors = tree(vocabulary, horizon)
    return successors, [rng.random((draws, *layer.shape)) for layer in successors]


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


def test_a_token_that_is_never_drawn_adds_nothing():
    successors, rewards = random_mdp(8, 2, 2)
    policy = mode(successors, rewards)
    assert np.isfinite(value(successors, [r - p for r, p in zip(rewards, policy, strict=True)], policy)).all()
