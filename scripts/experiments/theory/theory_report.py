"""The report on the theory: a summary of the draws, one figure, and the page of verdicts and numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from theory_verdicts import TOLERANCE, share_shown, shown

from rewards.reporting.intervals import bootstrap_mean
from rewards.reporting.tables import markdown_table
from rewards.theory.bounds import preference_sharp

ARGUMENTS = "scripts/experiments/theory/arguments.md"
BANDS = ((0.001, 0.01), (0.01, 0.1), (0.1, 1.0))  # of eps
LONG = 6  # tokens; tightness is also told for responses of at least that many
BELOW = ("certain", "worst_mode_below_expert", "own_mode_below_expert")


def summary(drawn: dict) -> dict:
    """What `verify_draws` found, without its arrays: errors, violations, tightness, shares, means with intervals."""
    rows, beside, bands, gains = {}, drawn["beside"], [], {}
    for name, (found, limit) in drawn["bounds"].items():
        rows[name] = {"draws": found.size, "violations": int((~(found <= limit + TOLERANCE)).sum())}
        usable = limit > 0
        share, long = found[usable] / limit[usable], beside["horizon"][usable] >= LONG
        if share.size:
            rows[name] |= {"largest_share": float(share.max()), "median_share": float(np.median(share))}
            rows[name] |= {"largest_share_long": float(share[long].max()), "long": LONG}
    for low, high in BANDS:
        inside = (beside["eps"] >= low) & (beside["eps"] < high)
        shares = {name: float(beside[name][inside].mean()) if inside.any() else None for name in BELOW}
        bands.append({"eps": [low, high], "draws": int(inside.sum())} | shares)
    for name in ("first_round_gain", "second_round_gain"):
        mean, interval = bootstrap_mean(beside[name])
        gains[name] = {"mean": float(mean), "ci95": interval.tolist()}
    discounts = dict.fromkeys(discount for discount, _ in drawn["optima"])
    return {
        "draws": drawn["draws"],
        "sizes": drawn["sizes"],
        "identities": drawn["identities"],
        "bounds": rows,
        "hard_rl_by_eps": bands,
        "gains_with_kl_penalty": gains,
        "undefined_margins": float(beside["undefined_margins"].mean()),
        "mode_soft_gap": float(beside["mode_soft_gap"].mean()),
        "discounted_optima": [
            {"discount": g} | {name: mean for (of, name), mean in drawn["optima"].items() if of == g}
            for g in discounts
        ],
        "offsets_at_discount_1": drawn["offsets_at_discount_1"],
    }


def draw(growth: list[dict], theorem_1: np.ndarray, path: Path) -> None:
    """Theorem 1 against its bound, and the growth of both gaps with H, as a PNG.

    ``theorem_1`` [2, draws] holds the largest D_TV that was found, and alpha H eps / 2.
    """
    figure = Figure(figsize=(15, 4.4), layout="constrained")
    first, *others = axes = figure.subplots(1, 3)
    found, limit = theorem_1
    first.scatter(limit, found, s=2, alpha=0.3, label="worst imitator, random MDPs")
    x = np.geomspace(limit.min(), limit.max(), 200)
    first.plot(x, x, color="black", label="alpha H eps / 2")
    first.plot(x, preference_sharp(1.0, 1, 2 * x), color="tab:red", label="tanh(alpha H eps / 2)")
    first.set(xlabel="alpha H eps / 2", ylabel="D_TV of the preferences", title="Theorem 1")
    for axis, policy, slopes in zip(others, ("imitator", "hard RL"), ((1, 1.5, 2), (1, 2)), strict=True):
        for row in growth:
            if row["variable"] == "H" and row["policy"] == policy and min(row["gap"]) > 0:
                name = {"tree": "random trees", "graph": "random graphs"}.get(row["where"], row["where"])
                name += f", alpha = {row['alpha']}, eps = {row['fixed']:g}: {row['exponent']:.2f}"
                style = ":" if row["where"] in ("tree", "graph") else "-"
                axis.plot(row["at"], np.array(row["gap"]) / row["fixed"], style, marker=".", label=name)
        for slope in slopes:
            axis.plot([4, 1024], [0.02 * h**slope for h in (4, 1024)], color="lightgrey", zorder=0)
            axis.annotate(f"H^{slope}", (1024, 0.02 * 1024**slope), color="grey", fontsize=8)
        axis.set(xlabel="H", ylabel="worst gap to the expert / eps", title=f"Theorem 2, {policy} (exponents)")
    for axis in axes:
        axis.set(xscale="log", yscale="log")
        axis.legend(fontsize=6)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def identity_table(drawn: Mapping) -> str:
    """The largest error of each identity, as a Markdown table."""
    return markdown_table(["identity", "largest error"], [[n, f"{e:.1e}"] for n, e in drawn["identities"].items()])


def bound_table(drawn: Mapping) -> str:
    """Of each bound how often it was broken and how much of it was reached, as a Markdown table."""
    rows = []
    for name, row in drawn["bounds"].items():
        keys = ("largest_share", "largest_share_long", "median_share")
        shares = [f"{row[key]:.4f}" if key in row else "" for key in keys]
        rows.append([name, f"{row['draws']:,}", row["violations"], *shares])
    headings = ["bound", "draws", "violations", "largest share", f"at H >= {LONG}", "median share"]
    return markdown_table(headings, rows)


def hard_rl_table(drawn: Mapping) -> str:
    """By eps how often hard RL is below the expert, as a Markdown table."""
    rows = [
        [f"{row['eps'][0]:g} to {row['eps'][1]:g}", f"{row['draws']:,}", *(share_shown(row[name]) for name in BELOW)]
        for row in drawn["hard_rl_by_eps"]
    ]
    return markdown_table(["eps", "draws", "entropies rule it out", "at the worst", "for the drawn"], rows)


def discount_table(drawn: Mapping) -> str:
    """Where the optimum goes as the discount falls, as a Markdown table."""
    rows = [
        [f"{row['discount']:g}", *(f"{row[name]:.4f}" for name in ("whole", "token", "offsets"))]
        for row in drawn["discounted_optima"]
    ]
    form = "log-prob form to sharpened responses"
    return markdown_table(["discount", form, "to tempered tokens", "Q - V form, two sets of logits"], rows)


def growth_table(growth: Sequence[Mapping]) -> str:
    """How the worst gaps grow with the horizon or with eps, as a Markdown table."""
    rows = []
    for row in growth:
        fixed = f"{'eps' if row['variable'] == 'H' else 'H'} = {row['fixed']:g}"
        at = f"{row['variable']} = {row['at'][0]:g} to {row['at'][-1]:g}"
        last = "" if row["last"] is None else f"{row['last']:.3f}"
        share = f"{row['share_of_bound'][-1]:.4f}" if row["gap"][-1] > TOLERANCE else ""
        gaps = [f"{row['gap'][0]:.3g}", f"{row['gap'][-1]:.3g}", share]
        rows.append([row["policy"], row["where"], row["alpha"], fixed, at, shown(row), last, *gaps])
    headings = ["policy", "where", "alpha", "fixed", "range", "exponent (95 %)", "at the end", "first gap", "last gap"]
    return markdown_table([*headings, "share"], rows, left=5)


def short_table(results: Mapping) -> str:
    """What the README shows: the bounds of the theorems, and the exponents on the constructions."""
    bounds = {n: row for n, row in results["draws"]["bounds"].items() if n.startswith("Theorem")}
    growth = [row for row in results["growth"] if row["where"] not in ("tree", "graph") and row["gap"][-1] > TOLERANCE]
    return f"{bound_table({'bounds': bounds})}\n{growth_table(growth)}"


def markdown(results: Mapping) -> str:
    """The page of one run: verdicts first, then all numbers."""
    drawn = results["draws"]
    lines = ["# The theory in numbers", ""]
    lines += [f"The notation and the arguments are in `{ARGUMENTS}`. V counts no entropy unless said.", ""]
    lines += ["## Verdicts", ""]
    for name, found in results["verdicts"].items():
        passed = "all checks passed" if found["passed"] else "CHECKS FAILED"
        lines += [f"**{name}** ({passed}). {found['verdict']}", ""]
    lines += ["![Theorem 1, and the growth of the gaps of Theorem 2](theory.png)", ""]
    lines += [f"## Numbers: {drawn['draws']:,} random token MDPs, and constructions", ""]
    lines += [identity_table(drawn), bound_table(drawn)]
    lines += ["Hard RL below the expert: at the worst imitator, and for the one that was drawn.", ""]
    lines += [hard_rl_table(drawn)]
    lines += [
        "KL penalty b = alpha, reward and KL discounted. Mean total variation of the optimum over responses:",
        "",
    ]
    lines += [discount_table(drawn)]
    lines += [
        "Worst gaps. Intervals: of a regression for constructions, of a bootstrap over draws for random MDPs; no",
        "exponent where a gap is not positive (hard RL is then above the expert). Share: of the sharpened bound, at",
        "the last point.",
        "",
    ]
    return "\n".join([*lines, growth_table(results["growth"])])
