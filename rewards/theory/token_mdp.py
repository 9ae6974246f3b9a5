"""Token MDPs by exact dynamic programming, many at a time.

A response is H tokens of a vocabulary of n. Step h has S_h states and moves on without chance: ``successors[h][s, a]``
is the state of step h + 1. In a tree, a state is a prefix. A graph with fewer states is the same tree with a reward
that depends on the prefix through the state only. Everything lives in lists with one array for each step: rewards,
logits and log-policies are (D, S_h, n) float64 for D MDPs, values (D, S_h). All are in nats. Temperatures are
scalars or (D,).
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

Layers = list[np.ndarray]


def tree(vocabulary: int, horizon: int) -> Layers:
    """Successors of the tree of all responses; every response ends in the one state of step H."""
    states = [np.arange(vocabulary ** (h + 1)).reshape(-1, vocabulary) for h in range(horizon)]
    return [*states[:-1], np.zeros_like(states[-1])]


def soft_optimal(
    successors: Layers, rewards: Layers, temperature, log_base: Layers | None = None, discount: float = 1.0
) -> tuple[Layers, Layers, Layers]:
    """The maximiser of E sum_h discount^h (r_h - temperature * log(pi / base)), with its Q and V (V of the end is 0).

    With ``log_base`` it is the optimum of reinforcement learning with a KL penalty to that policy. Without, base is
    the constant 1 and the optimum is the entropy-regularised one: pi = softmax(Q / temperature).

    Returns:
        q (D, S_h, n) and v (D, S_h) (one step more than q), and the log-policy (D, S_h, n).
    """
    t = np.asarray(temperature, dtype=float)[..., None, None]
    q: Layers = []
    v: Layers = [np.zeros((len(rewards[0]), successors[-1].max() + 1))]
    log_pi: Layers = []
    for h in reversed(range(len(rewards))):
        q.insert(0, rewards[h] + discount * v[0][:, successors[h]])
        scores = q[0] / t if log_base is None else q[0] / t + log_base[h]
        normaliser = logsumexp(scores, axis=-1, keepdims=True)
        log_pi.insert(0, scores - normaliser)
        v.insert(0, (t * normaliser)[..., 0])
    return q, v, log_pi


def endogenous_reward(successors: Layers, q: Layers, alpha, terminal: float = 0.0) -> tuple[Layers, Layers]:
    """r = Q(s, a) - V(s') from logits, V = alpha * logsumexp(Q / alpha), ``terminal`` after the last (eq. 8 and 11).

    Returns the rewards and the V of every step, the terminal one included.
    """
    a = np.asarray(alpha, dtype=float)[..., None]
    v = [a * logsumexp(x / a[..., None], axis=-1) for x in q]
    v.append(np.full((len(v[0]), successors[-1].max() + 1), float(terminal)))
    return [x - v[h + 1][:, successors[h]] for h, x in enumerate(q)], v


def value(successors: Layers, gains: Layers, log_pi: Layers, discount: float = 1.0) -> np.ndarray:
    """E_pi sum_h discount^h gains_h, (D,). The entropy-regularised value takes the gains r - alpha * log pi."""
    v = np.zeros((len(log_pi[0]), successors[-1].max() + 1))
    for h in reversed(range(len(log_pi))):
        probability = np.exp(log_pi[h])
        # a token that is never drawn adds nothing, also where its gain is infinite
        total = np.where(probability > 0, gains[h] + discount * v[:, successors[h]], 0.0)
        v = (probability * total).sum(-1)
    return v[:, 0]


def response_sums(successors: Layers, gains: Layers, weights: Sequence[float] | None = None) -> np.ndarray:
    """sum_h weights_h * gains_h of every response, (D, n^H), in the order of their tokens; weights are 1 by default.

    Of a log-policy these are the log-probabilities of all responses.
    """
    states, sums = np.zeros(1, dtype=int), np.zeros((len(gains[0]), 1))
    for h, gain in enumerate(gains):
        step = gain[:, states] if weights is None else weights[h] * gain[:, states]
        sums = (sums[..., None] + step).reshape(len(sums), -1)
        states = successors[h][states].ravel()
    return sums


def mode(successors: Layers, rewards: Layers) -> Layers:
    """The log-policy (0 or -inf) of the hard argmax of the summed reward; the first of several."""
    v = np.zeros((len(rewards[0]), successors[-1].max() + 1))
    policy: Layers = []
    for h in reversed(range(len(rewards))):
        q = rewards[h] + v[:, successors[h]]
        chosen = np.arange(q.shape[-1]) == q.argmax(-1)[..., None]
        policy.insert(0, np.where(chosen, 0.0, -np.inf))
        v = q.max(-1)
    return policy
