"""The identities and bounds of the theory on random token MDPs, every response enumerated."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp
from tqdm import tqdm

from rewards.theory import bounds
from rewards.theory.token_mdp import (
    Layers,
    endogenous_reward,
    mode,
    response_sums,
    soft_optimal,
    tree,
    value,
)
from rewards.theory.worst_case import largest_pair_shift, possible_modes, shift_mass, worst_imitator

SIZES = [(n, h) for n in range(2, 7) for h in range(1, 13) if n**h <= 4096]  # vocabulary and horizon
BATCH_RESPONSES = 200_000  # enumerated at a time
DISCOUNTS = (1.0, 0.95, 0.5, 0.0)
PAIRS = 8  # of responses, for each MDP


@dataclass
class Draws:
    """D random MDPs of one size with their experts, and an imitator of each within eps; layers as in `token_mdp`.

    `alpha`, `eps` and `kl_coef` are [D]; `logits` are the imitator's with random offsets at each prefix, which
    next-token prediction leaves free; `terminal` is the V that r^ assumes after the last token.
    """

    successors: Layers
    rewards: Layers
    alpha: np.ndarray
    eps: np.ndarray
    kl_coef: np.ndarray
    expert: Layers
    expert_v: np.ndarray
    imitator: Layers
    logits: Layers
    terminal: float

    @property
    def horizon(self) -> int:
        return len(self.rewards)


def random_rewards(rng: np.random.Generator, successors: Layers, draws: int) -> Layers:
    """Per-token rewards of three kinds in turn: uniform in [0, 1], Gaussian, and 0 or 1 on the last token only."""
    kind = np.arange(draws)[:, None, None] % 3
    layers = []
    for h, layer in enumerate(successors):
        shape, last = (draws, *layer.shape), h == len(successors) - 1
        outcome = rng.integers(2, size=shape) * float(last)
        layers.append(np.select([kind == 0, kind == 1], [rng.random(shape), rng.normal(size=shape)], outcome))
    return layers


def random_imitator(rng: np.random.Generator, expert: Layers, eps: np.ndarray) -> Layers:
    """A log-policy within eps: an extreme point of what is allowed in a random direction, or some way towards it."""
    eps, imitator = eps[:, None, None], []
    for log_p in expert:
        p, way = np.exp(log_p), np.minimum(1, 2 * rng.random((len(log_p), 1, 1)))
        imitator.append(np.log(p + way * (shift_mass(p, rng.normal(size=p.shape), eps) - p)))
    return imitator


def draw(rng: np.random.Generator, vocabulary: int, horizon: int, draws: int) -> Draws:
    """Random MDPs on the tree of all responses: alpha in [0.1, 10], eps in [0.001, 1], KL
    coefficient alpha / 10 to 10 alpha, all uniform in the logarithm."""
    successors = tree(vocabulary, horizon)
    rewards, alpha, eps = (
        random_rewards(rng, successors, draws),
        *10 ** rng.uniform([[-1], [-3]], [[1], [0]], (2, draws)),
    )
    _, v, expert = soft_optimal(successors, rewards, alpha)
    imitator = random_imitator(rng, expert, eps)
    logits = [alpha[:, None, None] * x + rng.normal(scale=3, size=(*x.shape[:2], 1)) for x in imitator]
    kl_coef = alpha * 10 ** rng.uniform(-1, 1, draws)
    terminal = float(rng.normal())
    return Draws(successors, rewards, alpha, eps, kl_coef, expert, v[0][:, 0], imitator, logits, terminal)


def margin_errors(totals: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference of two rewards' margins between any two responses: 0 if they are equal up to shaping."""
    return float(np.ptp(totals - reference, axis=1).max())


def largest_error(found, expected) -> float:
    """Largest absolute difference of two arrays, or of two lists of arrays."""
    pairs = zip(found, expected, strict=True) if isinstance(found, list) else [(found, expected)]
    return max(float(np.abs(x - y).max()) for x, y in pairs)


def normalised(log_weights: np.ndarray) -> np.ndarray:
    """Log-probabilities of responses (D, N) from their logs of weights."""
    return log_weights - logsumexp(log_weights, axis=1, keepdims=True)


class Extracted:
    """The reward r^ of the imitators of some draws, and what several identities need of it.

    `rewards` and `values` are layers; of whole responses, [D, N], `log_p` holds the imitator's log-probabilities,
    `totals` the sums of r^, and `sharper` the log-probabilities of P_hat^(1 + alpha / b).
    """

    def __init__(self, d: Draws):
        self.rewards, self.values = endogenous_reward(d.successors, d.logits, d.alpha, d.terminal)
        self.log_p, self.totals = (response_sums(d.successors, x) for x in (d.imitator, self.rewards))
        self.power = 1 + d.alpha / d.kl_coef
        self.sharper = normalised(self.power[:, None] * self.log_p)


def telescoping_errors(d: Draws, r_hat: Extracted) -> dict[str, float]:
    """Eq. 12: the reward r^ and the expert's own reward, of a token and of a whole response."""
    s, a, v = d.successors, d.alpha[:, None, None], r_hat.values
    by_policy = [a * x + v[h][..., None] - v[h + 1][:, s[h]] for h, x in enumerate(d.imitator)]
    telescoped = d.alpha[:, None] * r_hat.log_p + v[0] - d.terminal
    log_e, true_totals = response_sums(s, d.expert), response_sums(s, d.rewards)
    of_expert = d.alpha[:, None] * log_e + d.expert_v[:, None]
    return {
        "eq. 12: Q - V' is alpha log pi_hat + V - V'": largest_error(r_hat.rewards, by_policy),
        "eq. 12: r^ of a response telescopes to alpha log P_hat + V(s_1) - V(end)": largest_error(
            r_hat.totals, telescoped
        ),
        "eq. 12: r* of a response is alpha log P_E + V*(s_1)": largest_error(true_totals, of_expert),
    }


def soft_rl_errors(d: Draws, r_hat: Extracted, rng: np.random.Generator) -> dict[str, float]:
    """What hard and soft RL on r^ return, and the reward that can be extracted from it again (section 3.3)."""
    s, alpha, log_p = d.successors, d.alpha, r_hat.log_p
    a = alpha[:, None, None]
    best = (np.exp(response_sums(s, mode(s, r_hat.rewards))) * log_p).sum(1)
    q, _, again = soft_optimal(s, r_hat.rewards, alpha)
    soft_gap = d.expert_v - value(s, [r - a * x for r, x in zip(d.rewards, d.imitator, strict=True)], d.imitator)
    divergence = (np.exp(log_p) * (log_p - response_sums(s, d.expert))).sum(1)
    offset = [x + rng.normal(scale=3, size=(*x.shape[:2], 1)) for x in q]
    second, _ = endogenous_reward(s, offset, alpha, rng.normal())
    colder, _, _ = soft_optimal(s, r_hat.rewards, d.kl_coef)
    other, _ = endogenous_reward(s, colder, d.kl_coef)
    return {
        "RL: the hard argmax of r^ is the imitator's likeliest response": largest_error(best, log_p.max(1)),
        "RL: soft RL on r^ at alpha returns the imitator": largest_error(again, d.imitator),
        "RL: with entropy counted, the imitator's gap is alpha KL(P_hat || P_E)": largest_error(
            soft_gap, alpha * divergence
        ),
        "3.3: the policy of soft RL at alpha has the margins of r^": margin_errors(
            response_sums(s, second), r_hat.totals
        ),
        "3.3: so has that of soft RL at any temperature, extracted at that temperature": margin_errors(
            response_sums(s, other), r_hat.totals
        ),
    }


def kl_errors(d: Draws, r_hat: Extracted, other: Layers) -> dict[str, float]:
    """The optimum under a KL penalty at discount 1, a second round from it, and any `other` policy beside it."""
    s, b = d.successors, d.kl_coef
    a, power = d.alpha[:, None, None], r_hat.power[:, None]
    _, f, optimum = soft_optimal(s, r_hat.rewards, b, d.imitator)
    second, _ = endogenous_reward(s, [a * x for x in optimum], d.alpha)
    _, _, again = soft_optimal(s, second, b, optimum)
    log_o = response_sums(s, other)
    objective = (np.exp(log_o) * (r_hat.totals - b[:, None] * (log_o - r_hat.log_p))).sum(1)
    missed = b * (np.exp(log_o) * (log_o - r_hat.sharper)).sum(1)
    return {
        "KL: at discount 1 the optimum is P_hat^(1 + alpha/b), normalised over whole responses": largest_error(
            response_sums(s, optimum), r_hat.sharper
        ),
        "3.3: the policy of RL with a KL penalty has margins 1 + alpha/b times as large": margin_errors(
            response_sums(s, second), power * r_hat.totals
        ),
        "3.3: a second round from it, KL to it, has the optimum P_hat^((1 + alpha/b)^2)": largest_error(
            response_sums(s, again), normalised(power * r_hat.sharper)
        ),
        "KL: no policy is above it, J = J_max - b KL(pi || optimum)": largest_error(objective, f[0][:, 0] - missed),
    }


def weighted_optimum(d: Draws, r_hat: Extracted, weights: np.ndarray) -> np.ndarray:
    """Log-probabilities (D, N) of the optimum where the reward of token h alone is weighted by weights[h]: falling
    powers of the imitator, times a factor in V wherever the weight drops."""
    exponents = 1 + weights * (d.alpha / d.kl_coef)[:, None]
    lead = [e[:, None, None] * x for e, x in zip(exponents.T, d.imitator, strict=True)]
    drop, b = [np.zeros(1), *(w - u for w, u in zip(weights, weights[1:], strict=False))], d.kl_coef[:, None, None]
    states = [x - (g / b) * v[..., None] for x, g, v in zip(lead, drop, r_hat.values, strict=False)]
    return normalised(response_sums(d.successors, states))


def discount_errors(d: Draws, r_hat: Extracted, other: Layers, rng: np.random.Generator) -> dict[str, float]:
    """The optimum under a KL penalty where the reward alone is weighted, and where the KL is discounted too."""
    s, alpha, b = d.successors, d.alpha, d.kl_coef
    a, column = alpha[:, None, None], b[:, None, None]
    discount, floor = rng.random(), rng.random() / 2
    fade = discount ** np.arange(d.horizon)
    weights = np.maximum(fade, floor)
    rewards = [w * r for w, r in zip(weights, r_hat.rewards, strict=True)]
    _, _, weighted = soft_optimal(s, rewards, b, d.imitator)

    _, f, optimum = soft_optimal(s, r_hat.rewards, b, d.imitator, discount)
    lost, seen = 0.0, np.ones((len(alpha), 1))
    for h, (x, y) in enumerate(zip(other, optimum, strict=True)):
        here = np.exp(x) * seen[..., None]
        lost = lost + fade[h] * b * (here * (x - y)).sum((1, 2))
        seen = here.reshape(len(alpha), -1)
    gains = [r - column * (x - y) for r, x, y in zip(r_hat.rewards, other, d.imitator, strict=True)]
    objective = (np.exp(response_sums(s, other)) * response_sums(s, gains, fade)).sum(1)

    _, _, myopic = soft_optimal(s, [a * x for x in d.imitator], b, d.imitator, 0.0)
    tempered = [r_hat.power[:, None, None] * x for x in d.imitator]
    tempered = [x - logsumexp(x, -1, keepdims=True) for x in tempered]
    return {
        "discount: weights max(discount^h, floor) give falling powers, times exp(-drop * V / b)": largest_error(
            response_sums(s, weighted), weighted_optimum(d, r_hat, weights)
        ),
        "discount: with reward and KL discounted, no policy is above the soft DP's": largest_error(
            objective, f[0][:, 0] - lost
        ),
        "discount: the log-prob form at discount 0 tempers each token by itself": largest_error(myopic, tempered),
    }


def identity_errors(d: Draws, rng: np.random.Generator) -> dict[str, float]:
    """Largest absolute error of each identity over the draws."""
    r_hat = Extracted(d)
    errors = telescoping_errors(d, r_hat) | soft_rl_errors(d, r_hat, rng)
    other = random_imitator(rng, d.imitator, np.full(len(d.alpha), 2.0))
    return errors | kl_errors(d, r_hat, other) | discount_errors(d, r_hat, other, rng)


def pair_of_responses(rng: np.random.Generator, vocabulary: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (2, PAIRS, H) of pairs of responses and where they part, (PAIRS,); half of them part at the first."""
    tokens = rng.integers(vocabulary, size=(2, PAIRS, horizon))
    split = rng.integers(horizon, size=PAIRS) * (np.arange(PAIRS) % 2)
    first, second = tokens
    before = np.arange(horizon) < split[:, None]
    second[before] = first[before]
    rows = np.arange(PAIRS)
    second[rows, split] = (first[rows, split] + rng.integers(1, vocabulary, PAIRS)) % vocabulary
    return tokens, split


def preferences(d: Draws, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Largest D_TV of the preferences of r* and r^ over pairs of responses, (D,): at the exact worst imitator of each
    pair, and for the drawn imitator."""
    n, rows = d.successors[0].shape[1], np.arange(PAIRS)
    tokens, split = pair_of_responses(rng, n, d.horizon)
    states, steps, log_p, totals = np.zeros((2, PAIRS), dtype=int), [], 0.0, 0.0
    for h in range(d.horizon):
        steps.append(np.exp(d.expert[h][:, states]))
        log_p = log_p + d.imitator[h][:, states, tokens[:, :, h]]
        totals = totals + d.rewards[h][:, states, tokens[:, :, h]]
        states = d.successors[h][states, tokens[:, :, h]]
    steps, alpha = np.moveaxis(np.stack(steps, axis=-2), 1, 0), d.alpha[:, None]
    margin, drawn = totals[:, 0, rows] - totals[:, 1, rows], alpha * (log_p[:, 0] - log_p[:, 1])
    up = alpha * largest_pair_shift(steps, tokens, split, d.eps)
    down = alpha * largest_pair_shift(steps[::-1], tokens[::-1], split, d.eps)
    true = expit(margin)
    worst = np.maximum(expit(margin + up) - true, true - expit(margin - down))
    return worst.max(1), np.abs(expit(drawn) - true).max(1)


def measure(d: Draws, rng: np.random.Generator) -> tuple[dict[str, tuple], dict[str, np.ndarray]]:
    """Bounds as pairs of what was found and what may be at most, and what is reported beside them; all (D,)."""
    s, alpha, eps, h = d.successors, d.alpha, d.eps, d.horizon
    flat = np.concatenate([r.reshape(len(alpha), -1) for r in d.rewards], axis=1)
    span = np.ptp(flat, axis=1)
    expert_value, imitator_value = (value(s, d.rewards, policy) for policy in (d.expert, d.imitator))
    worst_value, worst_policy = worst_imitator(s, d.rewards, d.expert, eps)
    a = alpha[:, None, None]
    soft = d.expert_v - value(s, [r - a * x for r, x in zip(d.rewards, worst_policy, strict=True)], worst_policy)
    log_e, log_p, totals = (response_sums(s, x) for x in (d.expert, d.imitator, d.rewards))
    allowed = possible_modes(s, d.expert, eps)
    worst_reward = np.where(allowed, totals, np.inf).min(1)
    own_reward = np.take_along_axis(totals, log_p.argmax(1)[:, None], 1)[:, 0]
    best = totals.max(1)
    # Shannon's entropy of the expert's responses minus their min-entropy
    spread = log_e.max(1) - (np.exp(log_e) * log_e).sum(1)
    preference, drawn_preference = preferences(d, rng)
    found = {
        "Theorem 1": (preference, bounds.preference_paper(alpha, h, eps)),
        "Theorem 1, sharpened": (preference, bounds.preference_sharp(alpha, h, eps)),
        "Theorem 2, imitator": (expert_value - worst_value, bounds.imitation_paper(span, h, eps)),
        "Theorem 2, imitator, sharpened": (expert_value - worst_value, bounds.imitation_sharp(span, h, eps)),
        "Theorem 2, imitator, by the range of responses": (
            expert_value - worst_value, bounds.imitation_sharp(np.ptp(totals, axis=1) / h, h, eps)),
        "Theorem 2, imitator, entropy counted": (soft, bounds.imitation_soft(alpha, h, eps)),
        "Theorem 2, hard RL against the best": (best - worst_reward, bounds.mode_to_best(alpha, h, eps)),
        "Theorem 2, hard RL against the expert": (expert_value - worst_reward, bounds.mode_to_expert(alpha, h, eps)),
        "hard RL at least the expert where its entropies differ by 2 H eps": (
            np.where(spread >= 2 * h * eps, expert_value - worst_reward, 0.0), np.zeros(len(eps))),
        "hard RL on the expert's own reward at least the expert": (expert_value - best, np.zeros(len(eps))),
        "a drawn imitator at least the worst one": (worst_value - imitator_value, np.zeros(len(eps))),
        "a drawn preference error at most the worst": (drawn_preference, preference),
        "a drawn mode at least the worst one": (worst_reward - own_reward, np.zeros(len(eps))),
    }  # fmt: skip
    _, _, sharper = soft_optimal(s, [a * x for x in d.imitator], d.kl_coef, d.imitator)
    _, _, twice = soft_optimal(s, [a * x for x in sharper], d.kl_coef, sharper)
    first_round, second_round = (value(s, d.rewards, policy) for policy in (sharper, twice))
    hard = response_sums(s, mode(s, [a * x for x in d.imitator]))
    count, unread = hard.shape[1], np.isneginf(hard).sum(1)
    unit = np.where(span > 0, span * h, 1.0)  # where nothing is at stake, nothing is gained
    beside = {
        "eps": eps,
        "horizon": np.full(len(eps), h),
        "certain": spread >= 2 * h * eps,
        "worst_mode_below_expert": worst_reward < expert_value - 1e-9,
        "own_mode_below_expert": own_reward < expert_value - 1e-9,
        "undefined_margins": unread * (unread - 1) / np.maximum(count * (count - 1), 1),
        "mode_soft_gap": -log_e.max(1) / h,
        "first_round_gain": (first_round - imitator_value) / unit,
        "second_round_gain": (second_round - first_round) / unit,
    }
    return found, beside


def discounted_optima(d: Draws, rng: np.random.Generator) -> dict[float, dict[str, np.ndarray]]:
    """By discount of reward and KL, b = alpha: the total variation (D,) of the optimum over responses to the sharpened
    whole response, to the token-by-token tempered policy, and between two sets of logits of the same policy."""
    s, rows = d.successors, {}
    a = d.alpha[:, None, None]
    whole = 2 * response_sums(s, d.imitator)
    token = [2 * x - logsumexp(2 * x, -1, keepdims=True) for x in d.imitator]
    fixed = {"whole": np.exp(whole - logsumexp(whole, 1, keepdims=True)), "token": np.exp(response_sums(s, token))}
    offset = [x + a * rng.normal(size=(*x.shape[:2], 1)) for x in d.logits]
    for discount in DISCOUNTS:
        forms = [[a * x for x in d.imitator], *(endogenous_reward(s, x, d.alpha)[0] for x in (d.logits, offset))]
        optima = (soft_optimal(s, r, d.alpha, d.imitator, discount)[2] for r in forms)
        likelihood, reward, again = (np.exp(response_sums(s, x)) for x in optima)
        distance = {name: np.abs(likelihood - x).sum(1) / 2 for name, x in fixed.items()}
        rows[discount] = distance | {"offsets": np.abs(reward - again).sum(1) / 2}
    return rows


def verify_draws(draws: int, seed: int) -> dict:
    """All checks on at least `draws` random MDPs, spread evenly over `SIZES`, with a progress bar."""
    rng, each = np.random.default_rng([seed, 0]), -(-draws // len(SIZES))
    errors, found, beside, optima = defaultdict(float), defaultdict(list), defaultdict(list), defaultdict(list)
    for vocabulary, horizon in tqdm(SIZES, desc="random token MDPs", unit="size"):
        left = each
        while left:
            batch = min(left, BATCH_RESPONSES // vocabulary**horizon)
            left -= batch
            d = draw(rng, vocabulary, horizon, batch)
            for name, error in identity_errors(d, rng).items():
                errors[name] = max(errors[name], error)
            bound, rest = measure(d, rng)
            for name, pair in bound.items():
                found[name].append(np.stack(np.broadcast_arrays(*pair)))
            for name, numbers in rest.items():
                beside[name].append(numbers)
            if horizon > 1:  # with one token there is nothing to discount
                for discount, distances in discounted_optima(d, rng).items():
                    for name, numbers in distances.items():
                        optima[discount, name].append(numbers)
    return {
        "draws": each * len(SIZES),
        "sizes": SIZES,
        "identities": dict(errors),
        "bounds": {name: np.concatenate(pairs, axis=1) for name, pairs in found.items()},
        "beside": {name: np.concatenate(numbers) for name, numbers in beside.items()},
        "optima": {key: float(np.concatenate(numbers).mean()) for key, numbers in optima.items()},
        "offsets_at_discount_1": max(float(x.max()) for x in optima[1.0, "offsets"]),
    }
