"""What the numbers on the theory allow to be said: every sentence and every pass depends on them."""

from collections.abc import Iterable

from rewards.reporting.tables import percent, with_interval
from rewards.theory.bounds import imitation_paper

TOLERANCE = 1e-9
TIGHT = 0.9  # a bound is called tight where at least this share of it is reached


class Verdict:
    """A verdict on one section: its sentences, and whether all its checks passed."""

    def __init__(self):
        self.passed, self.sentences = True, []

    def say(self, ok: bool, yes: str, no: str) -> None:
        """A check with the sentence for either outcome."""
        self.passed &= bool(ok)
        self.sentences.append(yes if ok else no)

    def exact(self, identities: dict[str, float], prefix: str, meaning: str) -> None:
        """All identities of a section, and what they mean."""
        errors = [error for name, error in identities.items() if name.startswith(prefix)]
        found = f"{len(errors)} identities, largest error {max(errors):.0e}"
        self.say(
            max(errors) <= TOLERANCE, f"Holds exactly ({found}): {meaning}.", f"Does NOT hold ({found}): {meaning}."
        )

    def bound(self, row: dict, formula: str) -> None:
        """A bound that was compared with the exact worst case of every draw."""
        found = f"{row['violations']:,} violations in {row['draws']:,} draws"
        share, long = row["largest_share"], row["largest_share_long"]
        tight = "tight" if long >= TIGHT else "tight for short responses only" if share >= TIGHT else "loose"
        found = f"{found}; {tight}: at most {share:.3f} of it is reached, {long:.3f} at H >= {row['long']}"
        self.say(not row["violations"], f"{formula} holds ({found}).", f"{formula} FAILS ({found}).")

    def result(self) -> dict:
        """For the JSON file and the page."""
        return {"passed": self.passed, "verdict": " ".join(self.sentences)}


def find(rows: Iterable[dict], **wanted) -> list[dict]:
    """The rows whose entries are those."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def exponent_near(row: dict, expected: float, within: float = 0.1) -> bool:
    """Whether the fitted exponent and its interval lie within that of the expected one."""
    return row["exponent"] is not None and all(abs(x - expected) < within for x in (row["exponent"], *row["ci95"]))


def shown(row: dict) -> str:
    """The exponent with its interval."""
    if row["exponent"] is None:
        return "none"
    return with_interval(row["exponent"], *row["ci95"])


def by_alpha(rows: Iterable[dict]) -> str:
    """The exponents of several alphas."""
    return ", ".join(f"{shown(row)} at alpha = {row['alpha']}" for row in rows)


def last_doubling(rows: Iterable[dict]) -> str:
    """The exponents between the two largest horizons."""
    return ", ".join(sorted({f"{row['last']:.2f}" for row in rows if row["last"] is not None}))


def interval(row: dict) -> str:
    """A mean with its interval."""
    return with_interval(row["mean"], *row["ci95"], form=".4f")


def share_shown(share: float | None) -> str:
    """A share as a percentage; it is None where nothing was drawn."""
    return "none drawn" if share is None else f"{percent(share)} %"


def preferences(drawn: dict) -> dict:
    """Theorem 1, and the search for the worst case that it was compared with."""
    verdict, limit = Verdict(), drawn["bounds"]
    verdict.bound(limit["Theorem 1"], "D_TV <= alpha H eps / 2")
    verdict.bound(limit["Theorem 1, sharpened"], "D_TV <= tanh(alpha H eps / 2)")
    broken = [name for name, row in limit.items() if name.startswith("a drawn") and row["violations"]]
    yes = "No drawn imitator was worse than the exact worst case, here and below. Condition: none."
    verdict.say(not broken, yes, f"The search for the worst case is WRONG: {', '.join(broken)}.")
    return verdict.result()


def imitation(drawn: dict, growth: list[dict]) -> dict:
    """Theorem 2 for the imitator: H^2 or H^1.5, at which alpha and eps."""
    verdict, limit = Verdict(), drawn["bounds"]
    verdict.bound(limit["Theorem 2, imitator"], "The paper's order, R H (H+1) / 2 * tanh(eps / 2),")
    verdict.bound(limit["Theorem 2, imitator, sharpened"], "The smaller order R H^1.5 eps / 2, at every eps,")
    by_range = "With the range of whole responses in place of R H it"
    verdict.bound(limit["Theorem 2, imitator, by the range of responses"], by_range)
    rows = find(growth, policy="imitator", variable="H")
    votes = find(rows, where="majority", alpha="H")
    small, large = min(votes, key=lambda r: r["fixed"]), max(votes, key=lambda r: r["fixed"])
    h, eps = small["at"][-1], small["fixed"]
    of_paper = small["gap"][-1] / imitation_paper(1.0, h, eps)
    found = f"majority MDP, alpha = H, H = {small['at'][0]} to {h}, eps = {eps:g}: exponent {shown(small)}"
    shares = f"{small['share_of_bound'][-1]:.2f} of the smaller order and {of_paper:.3f} of the paper's at H = {h}"
    yes = f"So the growth is H^1.5, not H^2: {found}, {shares}."
    verdict.say(exponent_near(small, 1.5), yes, f"H^1.5 is NOT the growth: {found}, {shares}.")
    matched = find(rows, where="matched majority")
    ranges = f"with R = {matched[0]['reward_range'][-1] / matched[0]['alpha']:.2f} alpha for every H"
    found = f"matched majority, {ranges}: {by_alpha(matched)}; last doubling of H {last_doubling(matched)}"
    yes = f"A fixed alpha does not prevent it: {found}."
    verdict.say(all(exponent_near(r, 1.5) for r in matched), yes, f"Not so at fixed alpha: {found}.")
    (plain,) = find(rows, where="majority", alpha=1.0)
    gaps = f"gap {plain['gap'][0]:.1e} at H = {plain['at'][0]}, {abs(plain['gap'][-1]):.0e} at H = {plain['at'][-1]}"
    yes = f"That the plain majority MDP loses nothing at alpha = 1 ({gaps}) is no rule."
    verdict.say(abs(plain["gap"][-1]) < TOLERANCE, yes, f"The plain majority MDP loses at alpha = 1 too ({gaps}).")
    found = f"at eps = {large['fixed']:g} the last doubling of H has exponent {large['last']:.2f}"
    yes = f"Condition: eps well below 1 / sqrt(H); {found}, for no gap is above R H."
    verdict.say(abs(large["last"] - 1) < 0.1, yes, f"No saturation is seen: {found}.")
    graphs = find(rows, where="graph")
    verdict.say(
        all(r["ci95"][1] < 1.5 for r in graphs),
        f"Random MDPs stay below: {by_alpha(graphs)}.",
        f"Random MDPs do not stay below: {by_alpha(graphs)}.",
    )
    return verdict.result()


def hard_rl(drawn: dict, growth: list[dict]) -> dict:
    """Theorem 2 for the hard argmax of r^: linear, with alpha; when it is above the expert."""
    verdict, limit = Verdict(), drawn["bounds"]
    verdict.bound(limit["Theorem 2, hard RL against the expert"], "alpha H eps (1 + tanh(eps / 2)) to the expert")
    verdict.bound(limit["Theorem 2, hard RL against the best"], "2 alpha H eps to the best response")
    reached = max(max(row["share_of_bound"]) for row in find(growth, where="two branches"))
    verdict.sentences.append(f"Two branches reach {reached:.2f} of the former.")
    paths = min(row["share_of_bound"][-1] for row in find(growth, where="two paths"))
    yes = f"The latter is attained: {paths:.6f} of it on two paths."
    verdict.say(paths >= TIGHT, yes, f"The latter is not attained: {paths:.3f} of it on two paths.")
    branches = find(growth, where="two branches", variable="H")
    (tied,), free = find(branches, alpha="H"), [row for row in branches if row["alpha"] != "H"]
    found = f"{by_alpha(branches)}, the last with rewards in [0, {max(tied['reward_range']):.2f}]"
    verdict.say(
        exponent_near(tied, 2.0) and all(exponent_near(row, 1.0) for row in free),
        f"Condition: alpha is fixed. The paper's H eps hides the factor alpha; exponents on two branches: {found}.",
        f"Linear growth with the factor alpha is NOT confirmed; exponents on two branches: {found}.",
    )
    votes = [r for where in ("majority", "matched majority") for r in find(growth, policy="hard RL", where=where)]
    yes = "On both majority MDPs hard RL is never below the expert."
    verdict.say(max(max(r["gap"]) for r in votes) < TOLERANCE, yes, "On a majority MDP hard RL is below the expert.")
    for name, condition in (
        ("hard RL on the expert's own reward at least the expert", "at eps = 0"),
        ("hard RL at least the expert where its entropies differ by 2 H eps",
         "where the entropy of P_E exceeds its min-entropy by 2 H eps"),
    ):  # fmt: skip
        broken = limit[name]["violations"]
        verdict.say(not broken, f"Never below {condition}.", f"Below in {broken:,} draws even {condition}.")
    shares = [f"{share_shown(r['worst_mode_below_expert'])} for eps in {r['eps']}" for r in drawn["hard_rl_by_eps"]]
    verdict.sentences.append(f"Else it can be: at the worst imitator in {', '.join(shares)} (random MDPs).")
    return verdict.result()


def readings(drawn: dict, growth: list[dict]) -> dict:
    """Theorem 2 with the entropy counted in V or not, and with soft or hard RL."""
    verdict = Verdict()
    verdict.exact(
        drawn["identities"], "RL", "soft RL on r^ at alpha returns pi_hat itself, hard RL its likeliest response"
    )
    matched = find(growth, policy="imitator", where="matched majority", alpha=1.0, variable="H")[0]
    ratio = matched["gap"][-1] / matched["at"][-1] * matched["at"][0] / matched["gap"][0]
    found = f"gap / H at H = {matched['at'][-1]} is {ratio:.1f} times that at H = {matched['at'][0]}"
    yes = f"Plain V, soft RL: no bound linear in H, {found} (matched majority, alpha = 1)."
    verdict.say(ratio > 2, yes, f"Plain V, soft RL: {found}.")
    formula = "Entropy counted in V, soft RL: alpha H eps tanh(eps / 2)"
    verdict.bound(drawn["bounds"]["Theorem 2, imitator, entropy counted"], formula)
    (even,) = find(growth, where="even odds", variable="eps")
    yes = f"It is quadratic in eps: exponent {shown(even)} on even odds."
    verdict.say(exponent_near(even, 2.0), yes, f"It is NOT quadratic in eps: exponent {shown(even)} on even odds.")
    soft, found = drawn["mode_soft_gap"], "the gap at eps = 0 is {:.2f} alpha a token (random MDPs)"
    yes = f"Entropy counted, hard RL: no bound that vanishes with eps, {found.format(soft)}."
    verdict.say(soft > TOLERANCE, yes, f"Entropy counted, hard RL: {found.format(soft)}.")
    return verdict.result()


def second_round(drawn: dict) -> dict:
    """Section 3.3: what a second round of RL with the policy's own reward does."""
    verdict = Verdict()
    meaning = "after soft RL the reward extracted is r^ up to shaping, after a KL penalty 1 + alpha/b times r^"
    verdict.exact(drawn["identities"], "3.3", meaning)
    first, second = drawn["gains_with_kl_penalty"].values()
    found = f"{interval(first)} in the first, {interval(second)} in the second round"
    verdict.say(
        second["ci95"][0] > 0 or second["ci95"][1] < 0,
        "So section 3.3 is true of soft RL and of the argmax, but with a KL penalty, which the paper trains with, a "
        f"second round sharpens again: value gained a token, in units of R, random MDPs: {found}.",
        f"With a KL penalty no gain by a second round is shown: {found}.",
    )
    share = f"{share_shown(drawn['undefined_margins'])} of the margins between two responses are undefined"
    yes = f"After hard RL there is no reward to extract: a deterministic policy has no finite logits, {share}."
    verdict.say(drawn["undefined_margins"] > 0, yes, f"After hard RL {share}.")
    return verdict.result()


def discounted(drawn: dict) -> dict:
    """What replaces the closed form when the discount is below 1."""
    verdict, rows = Verdict(), drawn["discounted_optima"]
    meaning = "falling powers and a factor in V if the reward alone is weighted, a soft DP if the KL is discounted too"
    verdict.exact(drawn["identities"], "discount", meaning)
    steps = list(zip(rows, rows[1:], strict=False))
    verdict.say(
        all(a["whole"] < b["whole"] and a["token"] > b["token"] for a, b in steps),
        "As the discount falls, the optimum of the log-prob form moves from sharpened responses to tempered tokens.",
        "The optimum does not move steadily from sharpened responses to tempered tokens.",
    )
    verdict.say(
        drawn["offsets_at_discount_1"] <= TOLERANCE and all(row["offsets"] > TOLERANCE for row in rows[1:]),
        "Below discount 1 the Q - V form depends on the offsets of the logits, which leave the policy as it is.",
        "The offsets of the logits do not act as derived.",
    )
    return verdict.result()


def verdicts(draws: dict, growth: list[dict]) -> dict[str, dict]:
    """By section whether its checks passed, and the sentences that the numbers allow."""
    eq_12, kl = Verdict(), Verdict()
    eq_12.exact(
        draws["identities"], "eq. 12", "a response's r^ is alpha log P_hat, its r* alpha log P_E, plus a constant"
    )
    kl.exact(draws["identities"], "KL", "the optimum is P_hat^(1 + alpha/b), normalised over whole responses")
    return {
        "eq. 12": eq_12.result(),
        "Theorem 1": preferences(draws),
        "Theorem 2, imitator": imitation(draws, growth),
        "Theorem 2, hard RL": hard_rl(draws, growth),
        "Readings of Theorem 2": readings(draws, growth),
        "Section 3.3": second_round(draws),
        "KL penalty, discount 1": kl.result(),
        "KL penalty, discount below 1": discounted(draws),
    }
