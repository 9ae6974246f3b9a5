"""Bounds on what an imitator within log-error eps, and the reward in its logits, can lose; with their arguments.

eps is max |log pi_E - log pi_hat| over all prefixes and tokens, R the range of the per-token reward r*, alpha the
temperature at which pi_E is soft-optimal for r*. Transitions of a token MDP are certain, so that over whole responses
P_E(x) = exp((r*(x) - V*(s_1)) / alpha), and r^(x) = alpha * log P_hat(x) + a constant.
"""

import numpy as np


def preference_paper(alpha, horizon: int, eps):
    """Theorem 1: D_TV of two Bradley-Terry preferences <= alpha H eps / 2.

    The margins r*(x) - r*(y) and r^(x) - r^(y) differ by at most d = 2 alpha H eps, and sigmoid is 1/4-Lipschitz.
    """
    return alpha * horizon * eps / 2


def preference_sharp(alpha, horizon: int, eps):
    """tanh(alpha H eps / 2): sigmoid rises most over an interval of length d around 0, by tanh(d / 4)."""
    return np.tanh(preference_paper(alpha, horizon, eps))


def imitation_paper(reward_range, horizon: int, eps):
    """Theorem 2 for pi_hat with its constant: R H (H + 1) / 2 * tanh(eps / 2), at most R H (H + 1) eps / 4.

    Performance difference: a step's total variation is at most tanh(eps / 2), and what is still to earn at the h-th
    last step ranges over h R.
    """
    return reward_range * horizon * (horizon + 1) / 2 * np.tanh(eps / 2)


def imitation_sharp(reward_range, horizon: int, eps):
    """R H sqrt(H eps tanh(eps / 2) / 2), at most R H^1.5 eps / 2, at every eps.

    A step's KL is at most eps * tanh(eps / 2) (attained by odds of 1 : e^eps, swapped), steps add up, Pinsker turns
    the sum into the total variation of whole responses, and those range over H R.
    """
    return reward_range * horizon * np.sqrt(horizon * eps * np.tanh(eps / 2) / 2)


def imitation_soft(alpha, horizon: int, eps):
    """With the entropy counted in V, the gap is alpha * KL(P_hat || P_E) <= alpha H eps tanh(eps / 2)."""
    return alpha * horizon * eps * np.tanh(eps / 2)


def mode_to_best(alpha, horizon: int, eps):
    """Hard argmax of r^ against the best response: 2 alpha H eps.

    alpha log P_E and alpha log P_hat differ by at most alpha H eps on either response, and P_hat prefers its own.
    """
    return 2 * alpha * horizon * eps


def mode_to_expert(alpha, horizon: int, eps):
    """Hard argmax of r^ against the expert: alpha H eps (1 + tanh(eps / 2)).

    For the mode m, log P_E(m) >= log P_hat(m) - H eps >= E_E log P_hat - H eps, since no mean of log P_hat is above
    its maximum; and that is E_E log P_E - KL(P_E || P_hat) - H eps. Multiplied by alpha, r*(m) is compared with
    V^{pi_E}. The KL is at most H eps tanh(eps / 2).
    """
    return alpha * horizon * eps * (1 + np.tanh(eps / 2))
