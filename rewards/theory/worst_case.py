"""The exact worst over every imitator within log-error eps of the expert: |log pi_hat - log pi_E| <= eps everywhere.

The imitator is free at each prefix apart from the others, so the worst one is found step by step from the end. Layers
are those of `token_mdp`, for D MDPs; `eps` is a scalar or (D,).
"""

import numpy as np

from rewards.theory.token_mdp import Layers

SLACK = 1e-12  # a tie counts as won: the worst case is a supremum


def raised(p, eps):
    """The largest probability that a token of probability `p` can be given within eps; numbers or arrays."""
    return np.minimum(p * np.exp(eps), 1 - (1 - p) * np.exp(-eps))


def lowered(p: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """The smallest probability that a token of probability `p` can be given within eps."""
    return np.maximum(p * np.exp(-eps), 1 - (1 - p) * np.exp(eps))


def shift_mass(p: np.ndarray, scores: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """The distribution q with |log q - log p| <= eps and the smallest mean of `scores`; all (..., n).

    A linear programme whose greedy solution is exact (a fractional knapsack): all tokens start at their least
    probability, and the mass that is left goes to the lowest scores first, each up to its largest.
    """
    order = scores.argsort(axis=-1)
    room = np.take_along_axis(p * (np.exp(eps) - np.exp(-eps)), order, axis=-1)
    left = 1 - np.exp(-eps) - (room.cumsum(-1) - room)
    added = np.empty_like(p)
    np.put_along_axis(added, order, np.clip(left, 0, room), axis=-1)
    return p * np.exp(-eps) + added


def worst_imitator(successors: Layers, rewards: Layers, log_expert: Layers, eps) -> tuple[np.ndarray, Layers]:
    """The least value under `rewards` of any imitator within eps, (D,), and that imitator's log-policy (robust DP)."""
    eps = np.asarray(eps, dtype=float)[..., None, None]
    v = np.zeros((len(rewards[0]), successors[-1].max() + 1))
    policy: Layers = []
    for h in reversed(range(len(rewards))):
        q = rewards[h] + v[:, successors[h]]
        worst = shift_mass(np.exp(log_expert[h]), q, eps)
        policy.insert(0, np.log(worst))
        v = (worst * q).sum(-1)
    return v[:, 0], policy


def largest_pair_shift(steps: np.ndarray, tokens: np.ndarray, split: np.ndarray, eps) -> np.ndarray:
    """The largest log [pi_hat(x) pi_E(y) / (pi_hat(y) pi_E(x))] of pairs of responses x, y within eps, (D, P).

    Args:
        steps: the expert's probabilities at the states of x and of y, (2, D, P, H, n).
        tokens: tokens of x and y, (2, P, H).
        split: the first step at which they differ, (P,). Before it both meet the same factors, which cancel.
    """
    eps = np.asarray(eps, dtype=float)[..., None, None]
    p, of_y = (np.take_along_axis(s, t[None, ..., None], -1)[..., 0] for s, t in zip(steps, tokens, strict=True))
    up, down = raised(p, eps), lowered(of_y, eps)
    # Where they part, both tokens are of one distribution: what x gained, the other tokens must be able to give.
    y_there = np.take_along_axis(steps[0], tokens[1][None, ..., None], -1)[..., 0]
    shared = np.maximum(y_there * np.exp(-eps), 1 - up - (1 - p - y_there) * np.exp(eps))
    h = np.arange(tokens.shape[-1])
    down = np.where(h == split[:, None], shared, down)
    return np.where(h >= split[:, None], np.log(up / p) - np.log(down / of_y), 0.0).sum(-1)


def lowest_mode(successors: Layers, log_expert: Layers, eps) -> Layers:
    """The least log-probability, from each state on, that an imitator within eps can leave its likeliest continuation.

    At a state, with m the result for the successors, it is the least t for which some q has log q + m <= t:
    sum_a min(p_a e^eps, e^(t - m_a)) >= 1 and t >= log p_a - eps + m_a. The first is solved by trying every number of
    tokens at their largest probability, in the order in which they get there. Returns (D, S_h), with 0 for the end.
    """
    eps = np.asarray(eps, dtype=float)[..., None, None]
    lowest = [np.zeros((len(log_expert[0]), successors[-1].max() + 1))]
    for h in reversed(range(len(log_expert))):
        m = lowest[0][:, successors[h]]
        order = (log_expert[h] + m).argsort(axis=-1)
        largest = np.take_along_axis(np.exp(log_expert[h] + eps), order, axis=-1)
        others = np.take_along_axis(-m, order, axis=-1)
        free = np.maximum(1 - (largest.cumsum(-1) - largest), 0)
        growing = np.logaddexp.accumulate(others[..., ::-1], axis=-1)[..., ::-1]
        with np.errstate(divide="ignore"):
            level = (np.log(free) - growing).max(-1)
        lowest.insert(0, np.maximum(level, (log_expert[h] - eps + m).max(-1)))
    return lowest


def possible_modes(successors: Layers, log_expert: Layers, eps) -> np.ndarray:
    """Which responses can be the likeliest one of an imitator within eps, bool (D, n^H).

    Best for a response is an imitator with its tokens raised as far as they go and, off its path, the likeliest
    continuation held down. What remains to ask at each of its states is whether the other tokens can take the rest of
    the mass without any of them leading to a likelier response.
    """
    horizon, n = len(log_expert), successors[0].shape[1]
    eps, lowest = np.asarray(eps, dtype=float)[..., None], lowest_mode(successors, log_expert, eps)
    states: Layers = [np.zeros(1, dtype=int)]
    for layer in successors:
        states.append(layer[states[-1]].ravel())
    rest: np.ndarray = np.zeros((len(log_expert[0]), n**horizon))  # log-probability of the path from the next step on
    possible: np.ndarray = np.ones(rest.shape, dtype=bool)
    for h in reversed(range(horizon)):
        paths = n ** (horizon - h - 1)  # responses that share a state of step h and its token
        log_p, m = log_expert[h][:, states[h]], lowest[h + 1][:, successors[h][states[h]]]
        own = np.log(raised(np.exp(log_p), eps[..., None]))
        shape = (len(rest), len(states[h]), n, paths)
        rest, possible = rest.reshape(shape) + own[..., None], possible.reshape(shape)
        taken = np.zeros(shape)
        for other in range(n):
            rival = (np.arange(n) != other)[:, None]
            most = rest - m[:, :, other, None, None]
            log_rival = log_p[:, :, other, None, None]
            limit = np.exp(np.minimum(log_rival + eps[..., None, None], most))
            taken += np.where(rival, limit, 0.0)
            possible &= ~rival | (most >= log_rival - eps[..., None, None] - SLACK)
        possible &= taken >= 1 - np.exp(own)[..., None] - SLACK
        rest, possible = rest.reshape(len(rest), -1), possible.reshape(len(rest), -1)
    return possible


def worst_mode(successors: Layers, rewards: Layers, log_expert: Layers, eps: float) -> float:
    """The least summed reward of a response that can be the likeliest one of an imitator within eps, for one MDP.

    `possible_modes` without a list of all responses, for graphs of few states: of the ends that a response can have
    from a state on, only those matter that no other beats in both log-probability and (low) reward.
    """
    lowest = lowest_mode(successors, log_expert, eps)
    ends = [[(0.0, 0.0)]] * (successors[-1].max() + 1)
    for h in reversed(range(len(rewards))):
        log_p, before = log_expert[h][0], []
        own, least = np.log(raised(np.exp(log_p), eps)), log_p - eps - SLACK
        for s, next_states in enumerate(successors[h]):
            found = []
            for token, state in enumerate(next_states):
                others = np.arange(len(next_states)) != token
                m, top = lowest[h + 1][0, next_states[others]], log_p[s, others] + eps
                for log_rest, reward in ends[state]:
                    most = own[s, token] + log_rest - m
                    fits = np.exp(np.minimum(top, most)).sum() >= 1 - np.exp(own[s, token]) - SLACK
                    if fits and (most >= least[s, others]).all():
                        found.append((own[s, token] + log_rest, rewards[h][0, s, token] + reward))
            kept: list[tuple[float, float]] = []
            for end in sorted(found, key=lambda e: (-e[0], e[1])):
                if not kept or end[1] < kept[-1][1]:
                    kept.append(end)
            before.append(kept)
        ends = before
    return min(reward for _, reward in ends[0])
