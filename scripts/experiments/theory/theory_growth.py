"""How the worst-case gaps of imitation and of hard RL grow with the horizon and with eps: exponents with intervals."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from rewards.reporting.intervals import bootstrap_power_law, power_law
from rewards.theory import bounds, constructions
from rewards.theory.token_mdp import Layers, mode, response_sums, soft_optimal, tree, value
from rewards.theory.worst_case import possible_modes, worst_imitator, worst_mode

HORIZONS = (4, 8, 16, 32, 64, 128, 256)
LONG = (*HORIZONS, 512, 1024)  # where only the robust programme is run
SMALL_EPS = 1e-3
EPSILONS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
ALPHAS = (0.1, 1.0, 10.0)
VOCABULARY = 6  # of the constructions with branches
Gap = Callable[[int, float, float], tuple[float, float]]  # H, alpha, eps -> worst gap, reward range


def reward_range(rewards: Layers) -> float:
    """Largest minus smallest reward of any token."""
    return float(max(r.max() for r in rewards) - min(r.min() for r in rewards))


def imitator_gap(mdp: tuple[Layers, Layers], alpha: float, eps: float) -> tuple[float, float]:
    """V^{pi_E} - V^{pi_hat} at the worst imitator of one MDP, no entropy counted; and the MDP's reward range."""
    expert = soft_optimal(*mdp, alpha)[2]
    return float((value(*mdp, expert) - worst_imitator(*mdp, expert, eps)[0])[0]), reward_range(mdp[1])


def hard_gap(mdp: tuple[Layers, Layers], alpha: float, eps: float, best: bool = False) -> tuple[float, float]:
    """The same for the hard argmax of r^: against the expert, or against the `best` response."""
    expert = soft_optimal(*mdp, alpha)[2]
    reference = value(*mdp, mode(*mdp) if best else expert)[0]
    return float(reference - worst_mode(*mdp, expert, eps)), reward_range(mdp[1])


def soft_gap(mdp: tuple[Layers, Layers], alpha: float) -> tuple[float, float]:
    """Gap with the entropy counted, of the imitator that swaps the two tokens of `even_odds`."""
    _, v, expert = soft_optimal(*mdp, alpha)
    swapped = [x[..., ::-1] for x in expert]
    gains = [r - alpha * x for r, x in zip(mdp[1], swapped, strict=True)]
    return float((v[0][:, 0] - value(mdp[0], gains, swapped))[0]), reward_range(mdp[1])


GAPS: dict[tuple[str, str], Gap] = {
    ("imitator", "majority"): lambda h, a, e: imitator_gap(constructions.majority(h), a, e),
    ("imitator", "matched majority"): lambda h, a, e: imitator_gap(constructions.matched_majority(h, a), a, e),
    ("imitator, entropy counted", "even odds"): lambda h, a, e: soft_gap(constructions.even_odds(h, a, e), a),
    ("hard RL", "majority"): lambda h, a, e: hard_gap(constructions.majority(h), a, e),
    ("hard RL", "matched majority"): lambda h, a, e: hard_gap(constructions.matched_majority(h, a), a, e),
    ("hard RL", "two branches"): lambda h, a, e: hard_gap(constructions.two_branches(h, VOCABULARY, a, e), a, e),
    ("hard RL, to the best", "two paths"): lambda h, a, e: hard_gap(
        constructions.two_paths(h, VOCABULARY, a, e), a, e, best=True
    ),
}
UPPER = {
    "imitator": lambda h, a, e, r: bounds.imitation_sharp(r, h, e),
    "imitator, entropy counted": lambda h, a, e, r: bounds.imitation_soft(a, h, e),
    "hard RL": lambda h, a, e, r: bounds.mode_to_expert(a, h, e),
    "hard RL, to the best": lambda h, a, e, r: bounds.mode_to_best(a, h, e),
}
# policy, construction, alphas, eps
IN_HORIZON = [
    ("imitator", "majority", ("H", 1.0), SMALL_EPS / 10),
    ("imitator", "majority", ("H",), 0.5),
    ("imitator", "matched majority", ALPHAS, SMALL_EPS / 10),
    ("imitator, entropy counted", "even odds", (1.0,), SMALL_EPS),
    ("hard RL", "majority", ("H", 1.0), SMALL_EPS / 10),
    ("hard RL", "matched majority", ALPHAS, SMALL_EPS / 10),
    ("hard RL", "two branches", (*ALPHAS, "H"), SMALL_EPS),
    ("hard RL, to the best", "two paths", ALPHAS, SMALL_EPS),
]
IN_EPS = [  # with the horizon last
    ("imitator", "majority", "H", 64),
    ("imitator", "matched majority", 1.0, 64),
    ("imitator, entropy counted", "even odds", 1.0, 64),
    ("hard RL", "two branches", 1.0, 64),
    ("hard RL, to the best", "two paths", 1.0, 64),
]


def constructed_growth() -> list[dict]:
    """Worst gaps on the constructions, with exponents in H and in eps and their share of the sharpened bound."""
    plans = [
        ("H", *row[:2], alpha, row[3], LONG if row[0] == "imitator" else HORIZONS)
        for row in IN_HORIZON
        for alpha in row[2]
    ]
    plans += [("eps", *row, EPSILONS) for row in IN_EPS]
    rows = []
    for variable, policy, where, alpha, fixed, at in tqdm(plans, desc="constructions", unit="curve"):
        gaps, shares, ranges = [], [], []
        for x in at:
            h, eps = (x, fixed) if variable == "H" else (fixed, x)
            a = float(h) if alpha == "H" else alpha
            gap, span = GAPS[policy, where](h, a, eps)
            gaps.append(gap)
            ranges.append(span)
            shares.append(float(gap / UPPER[policy](h, a, eps, span)))
        row = {"variable": variable, "policy": policy, "where": where, "alpha": alpha, "fixed": fixed, "at": list(at)}
        rows.append(row | {"gap": gaps, "share_of_bound": shares, "reward_range": ranges} | power_law(at, gaps))
    return rows


def random_graph(rng: np.random.Generator, vocabulary: int, horizon: int, states: int) -> Layers:
    """Successors of a random graph with that many states at each step but the first and the end."""
    sizes = [1, *[states] * (horizon - 1), 1]
    return [rng.integers(after, size=(now, vocabulary)) for now, after in zip(sizes, sizes[1:], strict=False)]


def random_growth(draws: int, seed: int, eps: float = 1e-2) -> list[dict]:
    """Exponents in H of the mean worst gap over random MDPs with rewards uniform in [0, 1], by alpha.

    Trees of all responses for both policies (two tokens, H up to 12), and graphs of six states for the imitator (four
    tokens, H up to 256), where the responses are too many for a list.
    """
    rng, rows = np.random.default_rng([seed, 1]), []
    families = {
        "tree": (range(2, 13), lambda h: tree(2, h)),
        "graph": (HORIZONS, lambda h: random_graph(rng, 4, h, 6)),
    }
    for where, (horizons, graph) in tqdm(families.items(), desc="growth on random MDPs"):
        for alpha in ALPHAS:
            gaps: dict[str, list] = {}
            for h in horizons:
                successors = graph(h)
                rewards = [rng.random((draws, *layer.shape)) for layer in successors]
                expert = soft_optimal(successors, rewards, alpha)[2]
                earned = value(successors, rewards, expert)
                gaps.setdefault("imitator", []).append(earned - worst_imitator(successors, rewards, expert, eps)[0])
                if where == "tree":
                    totals = response_sums(successors, rewards)
                    allowed = possible_modes(successors, expert, np.full(draws, eps))
                    worst = np.where(allowed, totals, np.inf).min(1)
                    gaps.setdefault("hard RL", []).append(earned - worst)
                    gaps.setdefault("hard RL, to the best", []).append(totals.max(1) - worst)
            for policy, found in gaps.items():
                samples = np.array(found)
                row = {"variable": "H", "policy": policy, "where": where, "alpha": alpha, "fixed": eps}
                most = [float(UPPER[policy](h, alpha, eps, 1.0)) for h in horizons]
                row |= {"at": list(horizons), "gap": samples.mean(1).tolist(), "draws": draws}
                row |= {"share_of_bound": (samples.mean(1) / most).tolist()}
                rows.append(
                    row | {"positive": float((samples > 0).mean())} | bootstrap_power_law(horizons, samples, rng)
                )
    return rows
