"""The report on the theory: a summary of the draws, one figure, and the page of verdicts, arguments and numbers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from theory_verdicts import TOLERANCE, percent, shown

from rewards.reporting.intervals import bootstrap_mean
from rewards.theory.bounds import preference_sharp

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


def table(header: str, rows: list[str]) -> list[str]:
    """Lines of a Markdown table with an empty line before it."""
    return ["", header, "|---" * (header.count("|") - 1) + "|", *rows]


def markdown(results: dict, arguments: Mapping[str, str]) -> str:
    """Verdicts first, then the argument of each section, then all numbers."""
    drawn = results["draws"]
    lines = ["# The theory in numbers", "", arguments["setting"], "", "## Verdicts", ""]
    for name, found in results["verdicts"].items():
        passed = "all checks passed" if found["passed"] else "CHECKS FAILED"
        lines += [f"**{name}** ({passed}). {found['verdict']}", ""]
    lines += ["![Theorem 1, and the growth of the gaps of Theorem 2](theory.png)", "", "## Arguments", ""]
    lines += [f"**{name}.** {text}\n" for name, text in arguments.items() if name != "setting"]
    lines += [f"## Numbers: {drawn['draws']:,} random token MDPs, and constructions"]
    identities = [f"| {name.replace('|', chr(92) + '|')} | {e:.1e} |" for name, e in drawn["identities"].items()]
    lines += table("| identity | largest error |", identities)
    rows = []
    for name, row in drawn["bounds"].items():
        keys = ("largest_share", "largest_share_long", "median_share")
        shares = " | ".join(f"{row[key]:.4f}" if key in row else "" for key in keys)
        rows.append(f"| {name} | {row['draws']:,} | {row['violations']} | {shares} |")
    lines += table(f"| bound | draws | violations | largest share | at H >= {LONG} | median share |", rows)
    rows = []
    for row in drawn["hard_rl_by_eps"]:
        cells = " | ".join(percent(row[name]) for name in BELOW)
        rows.append(f"| {row['eps'][0]:g} to {row['eps'][1]:g} | {row['draws']:,} | {cells} |")
    lines += ["", "Hard RL below the expert: at the worst imitator, and for the one that was drawn."]
    lines += table("| eps | draws | entropies rule it out | at the worst | for the drawn |", rows)
    rows = [
        f"| {row['discount']:g} | {row['whole']:.4f} | {row['token']:.4f} | {row['offsets']:.4f} |"
        for row in drawn["discounted_optima"]
    ]
    lines += [
        "",
        "KL penalty b = alpha, reward and KL discounted. Mean total variation over responses of the optimum:",
    ]
    lines += table(
        "| discount | log-prob form to sharpened responses | to tempered tokens | Q - V form, two sets of logits |",
        rows,
    )
    lines += [
        "",
        "Worst gaps. Intervals: of a regression for constructions, of a bootstrap over draws for random MDPs; no",
        "exponent where a gap is not positive (hard RL is then above the expert). Share: of the sharpened bound, at",
        "the last point.",
    ]
    rows = []
    for row in results["growth"]:
        fixed = f"{'eps' if row['variable'] == 'H' else 'H'} = {row['fixed']:g}"
        at = f"{row['variable']} = {row['at'][0]:g} to {row['at'][-1]:g}"
        last = "" if row["last"] is None else f"{row['last']:.3f}"
        share = f"{row['share_of_bound'][-1]:.4f}" if row["gap"][-1] > TOLERANCE else ""
        gaps = f"{row['gap'][0]:.3g} | {row['gap'][-1]:.3g} | {share}"
        where = f"{row['policy']} | {row['where']} | {row['alpha']} | {fixed}"
        rows.append(f"| {where} | {at} | {shown(row)} | {last} | {gaps} |")
    header = "| policy | where | alpha | fixed | range | exponent (95 %) | at the end | first gap | last gap | share |"
    return "\n".join([*lines, *table(header, rows)]) + "\n"
