"""Token MDPs, one at a time (D = 1), on which the bounds of `bounds` are attained or nearly so.

Each returns successors and rewards r*, as in `token_mdp`. In several r* is alpha * log of a chosen policy: that policy
is then the soft-optimal one, with V = 0 everywhere.
"""

import math

import numpy as np

from rewards.theory.token_mdp import Layers
from rewards.theory.worst_case import raised


def majority(horizon: int) -> tuple[Layers, Layers]:
    """H/2 free tokens of {0, 1}; then H/2 steps that pay 1 each if more than half were 1, else nothing.

    With alpha = H the expert stays near uniform and the first half is worth as much as the second; with a fixed alpha
    it is sure to reach the good half, and nothing is at stake.
    """
    return _vote(horizon, np.array([[0.0, 0.0], [1.0, 1.0]]))


def matched_majority(horizon: int, alpha: float, sharp: float = 0.9) -> tuple[Layers, Layers]:
    """The same with stakes at every alpha: after a majority of ones the expert earns alpha * log 2 - its entropy each
    step, otherwise it earns nothing and has the entropy of a coin.

    Reward and entropy weigh the same, so V is alpha * log 2 for each step left on either side, and the expert is
    indifferent (uniform) in the first half. The unregularised value is not. Reward range: alpha * log(p / (1 - p))
    with p = `sharp`, whatever H.
    """
    good = alpha * np.log(2 * np.array([sharp, 1 - sharp]))
    return _vote(horizon, np.stack([np.zeros(2), good]))


def _vote(horizon: int, pay: np.ndarray) -> tuple[Layers, Layers]:
    """First half: states count ones. Second half: state 1 if more than half of them were ones, else state 0."""
    if horizon < 2 or horizon % 2:
        raise ValueError(f"The horizon must be even and at least 2, not {horizon}.")
    half = horizon // 2
    counts: Layers = [np.arange(h + 1)[:, None] + [0, 1] for h in range(half)]
    counts[-1] = (2 * counts[-1] > half) * 1
    stay = np.repeat(np.arange(2)[:, None], 2, axis=1)
    successors = [*counts, *[stay] * (half - 1), np.zeros_like(stay)]
    return successors, [*(np.zeros((1, h + 1, 2)) for h in range(half)), *[pay[None]] * half]


def two_branches(horizon: int, vocabulary: int, alpha: float, eps: float) -> tuple[Layers, Layers]:
    """Where hard RL on r^ loses most against the expert: all first tokens but the last pay for a whole response what
    an imitator within eps can just hide by likelihood; nothing else pays, so the expert is uniform in both branches.

    One response of the last branch, raised by eps at each step, then is likelier than any of the others.
    """
    rise = math.log(raised(1 / vocabulary, eps) * vocabulary)
    # after its rise, the bad token is as likely as the (H - 1) rises must make up for
    risen = 1 / (1 + (vocabulary - 1) * math.exp((horizon - 1) * rise))
    bad = risen * math.exp(-eps)
    advantage = alpha * math.log((1 - bad) / ((vocabulary - 1) * bad)) * (1 - 1e-9)
    first = np.full((1, 1, vocabulary), advantage / horizon)
    first[..., -1] = 0.0
    later = np.zeros((1, 2, vocabulary))
    later[:, 0] = advantage / horizon
    return _branches(horizon, (np.arange(vocabulary) == vocabulary - 1)[None] * 1, first, later)


def two_paths(horizon: int, vocabulary: int, alpha: float, eps: float, likely: float = 0.4) -> tuple[Layers, Layers]:
    """Where hard RL on r^ loses most against the best response, 2 alpha H eps: the best response can be lowered by eps
    at each step and remain the likeliest of its branch, while another, worse by 2 alpha H eps, is raised by eps.

    Raises:
        ValueError: H < 3 or H eps > 1 (a third branch is then likelier, or the best one too likely to be lowered by
            eps), or `likely` cannot be lowered by eps and stay first, or not be raised by eps.
    """
    if horizon < 3 or horizon * eps > 1:
        raise ValueError(f"two_paths needs H >= 3 and H * eps <= 1, not H = {horizon}, eps = {eps}.")
    if not math.exp(eps) / vocabulary < likely < 1 / (1 + math.exp(eps)):
        raise ValueError(f"two_paths needs e^eps / vocabulary < likely < 1 / (1 + e^eps), not {likely}.")
    worse = 0.05
    best = worse * math.exp(2 * horizon * eps * (1 - 1e-9))
    filler = np.full(vocabulary - 2, (1 - best - worse) / (vocabulary - 2))
    peaked = np.array([likely, *[(1 - likely) / (vocabulary - 1)] * (vocabulary - 1)])
    first = np.array([best, worse, *filler])[None, None]
    later = np.stack([peaked, peaked, np.full(vocabulary, 1 / vocabulary)])[None]
    branch = np.minimum(np.arange(vocabulary), 2)[None]
    return _branches(horizon, branch, alpha * np.log(first), alpha * np.log(later))


def even_odds(horizon: int, alpha: float, eps: float) -> tuple[Layers, Layers]:
    """One state, two tokens, the second alpha * eps better: the imitator that swaps their probabilities, which are
    1 : e^eps, is within eps, and its soft gap is the largest there is, alpha * H * eps * tanh(eps / 2)."""
    step = np.zeros((1, 2), dtype=int)
    return [step] * horizon, [np.array([[[0.0, alpha * eps]]])] * horizon


def _branches(horizon: int, branch: np.ndarray, first: np.ndarray, later: np.ndarray) -> tuple[Layers, Layers]:
    """The first token chooses a branch, in which every step is like the other."""
    if horizon < 2:
        raise ValueError(f"The horizon must be at least 2, not {horizon}.")
    states, vocabulary = later.shape[1:]
    stay = np.repeat(np.arange(states)[:, None], vocabulary, axis=1)
    return [branch, *[stay] * (horizon - 2), np.zeros_like(stay)], [first, *[later] * (horizon - 1)]
