"""Paired differences between evaluations, and what they show; signs of a collapse in a run.

A difference is taken problem by problem, and its interval is a bootstrap over problems. Nothing is said to be shown
where the interval holds zero.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from rewards.reporting.intervals import EXACT, expanded_percentiles, resampled_means
from train.evaluation.figures import average
from train.evaluation.folders import Evaluation, Run
from train.evaluation.summary import title
from train.watches import START, WatchArguments, signs_of_rollouts

ROLES = {  # role: (name in sentences, what stays open without it)
    "policy": ("policy", "nothing can be said of a trained model"),
    "base": ("sampled base", "whether training changed anything is not tested"),
    "greedy": ("greedy base", "a gain that the base's own most likely answers have too can't be ruled out"),
    "low_temperature": ("low-temperature base", "a gain that a lower temperature gives too can't be ruled out"),
    "majority": ("majority of the base's samples", "a gain that a vote gives too can't be ruled out"),
    "labels": ("label-reward run", "how much of what labels give was reached is not known"),
    "format": ("format-reward run", "a gain that it would give too can't be ruled out"),
    "random": ("random-reward run", "a gain that it would give too can't be ruled out"),
}
DECODINGS = ("greedy", "low_temperature", "majority")  # of the base, without training
SETTINGS = ("template", "samples", "temperature", "top_p", "max_tokens", "backend", "dtype", "boxed_only")
ON_PURPOSE = {"greedy": {"samples", "temperature", "top_p"}, "low_temperature": {"temperature"}}
# A sign test with fewer pairs can't reach 5 % (2 * 0.5^5 > 0.05), and a bootstrap of them only seems to.
LEAST_PROBLEMS = 6
LIMITS = WatchArguments()  # changes that are called signs of a collapse, here and in training


def common_benchmarks(evaluations: Mapping[str, Evaluation]) -> tuple[list[str], dict[str, list[str]]]:
    """The benchmarks that all evaluations have, and for each of the others the roles that lack it.

    Raises:
        ValueError: there is none in common.
    """
    names = dict.fromkeys(name for e in evaluations.values() for name in e.figures)
    lacking = {name: [role for role, e in evaluations.items() if name not in e.figures] for name in names}
    common = [name for name in names if not lacking[name]]
    if evaluations and not common:
        each = "; ".join(f"{role}: {', '.join(e.figures)}" for role, e in evaluations.items())
        raise ValueError(f"no benchmark was evaluated for all: {each}. Evaluate all with the same --benchmarks")
    return common, {name: roles for name, roles in lacking.items() if roles}


def compare(
    first: Evaluation,
    second: Evaluation,
    pairs: Mapping[str, tuple[str, str]],
    benchmarks: Sequence[str],
    draws: int = 10_000,
) -> dict[str, dict[str, dict]]:
    """`first` minus `second`, paired by problem.

    Args:
        pairs: name -> (figure of the first, figure of the second).
        benchmarks: that both have.

    Returns:
        name -> benchmark, then "average" of several -> "value", "low", "high" and "problems" (of an average those of
        its smallest benchmark). Below LEAST_PROBLEMS "low" and "high" are None.

    Raises:
        ValueError: they are not of the same problems.
    """
    cells: dict[str, dict[str, dict]] = {name: {} for name in pairs}
    means: dict[str, list[np.ndarray]] = {name: [] for name in pairs}
    sizes = []
    for seed, benchmark in enumerate(benchmarks):
        places = _places(first, second, benchmark)
        ours, theirs = first.figures[benchmark], second.figures[benchmark]
        columns = np.stack([ours[a] - theirs[b][places] for a, b in pairs.values()], axis=1)
        shares = ["tokens" not in pair for pair in pairs.values()]
        drawn = resampled_differences(columns, shares, draws, seed)
        sizes.append(len(places))
        for j, name in enumerate(pairs):
            n = len(places) if np.ptp(columns[:, j]) else EXACT
            cells[name][benchmark] = expanded_percentiles(columns[:, j].mean(), drawn[:, j], n) | {
                "problems": len(places)
            }
            means[name].append(drawn[:, j])
    for name in pairs:
        if len(benchmarks) > 1:
            values = [cell["value"] for cell in cells[name].values()]
            cells[name]["average"] = average(values, means[name], sizes) | {"problems": min(sizes)}
        for cell in cells[name].values():
            if cell["problems"] < LEAST_PROBLEMS:
                cell["low"] = cell["high"] = None
    return cells


def resampled_differences(values: np.ndarray, shares: Sequence[bool], draws: int, seed: int) -> np.ndarray:
    """Means over problems of differences in bootstrap draws, as `resampled_means`.

    Differences of shares lie between -1 and 1. Where all are 1, or all are -1, the draws are those of a share without
    spread; where all are 0, problems that differ can be as frequent as a share that was never seen, either way.

    Args:
        values: (problems, figures).
        shares: of each figure whether it is a difference of shares.

    Returns:
        (draws, figures) float64.
    """
    means = 2 * resampled_means((values + 1) / 2, shares, draws, seed) - 1
    generator = np.random.default_rng([seed, 1])
    unseen = generator.beta(1, len(values), draws) * generator.choice([-1, 1], draws)
    means[:, (values == 0).all(axis=0) & np.asarray(shares)] = unseen[:, None]
    return means


def verdict(cell: Mapping) -> str:
    """ "gain" or "loss" where the interval leaves zero out, "not shown" where it does not or there is none."""
    if cell["low"] is None or cell["low"] <= 0 <= cell["high"]:
        return "not shown"
    return "gain" if cell["low"] > 0 else "loss"


def headline(cells: Mapping[str, Mapping]) -> Mapping:
    """The difference that a comparison is judged by: the average, or the only benchmark."""
    return cells.get("average", next(iter(cells.values())))


def points(cell: Mapping, scale: float = 100) -> str:
    """A difference in percentage points, as "+5.2 (+2.1 to +8.3)"."""
    low, high = cell["low"], cell["high"]
    between = "" if low is None else f" ({scale * low:+.1f} to {scale * high:+.1f})"
    return f"{scale * cell['value']:+.1f}{between}"


def sentence(name: str, cells: Mapping[str, Mapping]) -> str:
    """What one comparison, policy minus `name`, shows and what not."""
    main = headline(cells)
    said = {"gain": "a gain is shown", "loss": "a loss is shown", "not shown": "no difference is shown"}[verdict(main)]
    where = "on the average" if "average" in cells else f"on {title(next(iter(cells)))}"
    text = f"Policy minus {name}: {said} {where} ({_in_words(main)})."
    if few := [f"{title(b)} has {c['problems']}" for b, c in cells.items() if b != "average" and c["low"] is None]:
        text += f" Fewer than {LEAST_PROBLEMS} problems can show nothing: {', '.join(few)}."
    if "average" in cells:
        by = {v: [title(b) for b, c in cells.items() if b != "average" and verdict(c) == v] for v in ("gain", "loss")}
        parts = [f"{v} on {', '.join(names)}" for v, names in by.items() if names]
        text += f" By benchmark: {'; '.join(parts) or 'nothing shown on any'}."
    return text


def conclusions(
    outcomes: Mapping[str, Mapping[str, Mapping]], unlike: Mapping[str, Sequence[str]], given: Collection[str]
) -> list[str]:
    """What the comparisons show together, in sentences.

    Args:
        outcomes: role -> cells of policy minus that role, of `compare`.
        unlike: role -> what `differences_in_settings` found, nothing where the evaluations are alike.
        given: the roles that there are evaluations of; the others of ROLES are said to be missing.
    """
    found = {role: verdict(headline(cells)) for role, cells in outcomes.items()}
    shown = {role: f"{ROLES[role][0]} ({_in_words(headline(cells))})" for role, cells in outcomes.items()}
    gained, lines = found.get("base") == "gain", []
    if "base" in found:
        alike = "Self-improvement is shown: the policy" if not unlike.get("base") else "The policy"
        no = "No difference is shown between the policy and"
        said = {"gain": f"{alike} is above", "loss": "The policy is worse than", "not shown": no}
        lines.append(f"{said[found['base']]} the {shown['base']}.")
    level = [role for role in DECODINGS if found.get(role, "gain") != "gain"]
    if gained and {"greedy", "low_temperature"} & set(level):
        unbeaten = " or the ".join(shown[role] for role in level)
        lines.append(f"Sharpening, not new ability, is all that is shown: no gain over the {unbeaten}, untrained.")
    elif gained and level:
        lines.append(f"No gain is shown over the {shown['majority']}, which takes more samples but no training.")
    elif gained and "greedy" in found:
        beaten = " and the ".join(shown[role] for role in DECODINGS if role in found)
        lines.append(f"Not only sharpening: a gain is shown over the {beaten}, too.")
    for role in ("format", "random"):
        if found.get(role) == "gain":
            lines.append(f"The policy is above the {shown[role]}.")
        elif role in found:
            credit = "; what was gained can't be credited to the policy's own reward" if gained else ""
            lines.append(f"No gain is shown over the {shown[role]}{credit}.")
    if "labels" in found:
        how = {"gain": "is above", "loss": "is below", "not shown": "can't be told apart from"}[found["labels"]]
        lines.append(f"The policy {how} the {shown['labels']}.")
    for role, settings in unlike.items():
        if settings:
            how = "; ".join(settings)
            lines.append(f"Not evaluated alike, which may explain a difference: {ROLES[role][0]}, {how}.")
    return lines + [f"No {name} was given: {left}." for role, (name, left) in ROLES.items() if role not in given]


def differences_in_settings(evaluations: Mapping[str, Evaluation], role: str) -> list[str]:
    """Settings in which the evaluation of a role differs from the policy's though the role does not ask for it.

    Args:
        evaluations: role -> evaluation, with "policy".
    """
    policy, other, base = evaluations["policy"], evaluations[role], evaluations.get("base")
    ours, theirs = policy.facts["settings"], other.facts["settings"]
    names = [s for s in SETTINGS if s not in ON_PURPOSE.get(role, ()) and ours.get(s) != theirs.get(s)]
    found = [f"{s} is {theirs.get(s)}, the policy's {ours.get(s)}" for s in names]
    if policy.place == other.place:
        found.append("it is the policy's own model")
    if role in DECODINGS and base is not None and other.place != base.place:
        found.append(f"its model is {other.place}, the sampled base's {base.place}")
    return found


def collapse_signs(run: Run) -> list[str]:
    """Signs of a collapse in a run's metrics, from its first and last logged rollouts; empty where there is none."""
    signs = [
        f"{name} was not finite at {len(steps)} logged steps, first at {steps[0]}"
        for name, steps in run.infinite.items()
    ]

    def ends(metric: str) -> tuple[float, float] | None:
        values = run.series(metric)[1]
        return (float(np.mean(values[-START:])), float(np.mean(values[:START]))) if len(values) > START else None

    signs += signs_of_rollouts(ends, LIMITS).values()
    steps, values = run.series(run.heldout) if run.heldout else ([], [])
    if values and values[-1] < max(values) - LIMITS.watch_drop and max(values) <= 1:  # an accuracy
        best = int(np.argmax(values))
        reward = [v for s, v in zip(*run.series("reward")) if s <= steps[best]][-1:], run.series("reward")[1][-1:]
        rose = " while the reward rose" if all(reward) and reward[1][0] > reward[0][0] else ""
        signs.append(f"{run.heldout} fell from {values[best]:.3f} (step {steps[best]}) to {values[-1]:.3f}{rose}")
    return signs


def _in_words(cell: Mapping) -> str:
    low, high = cell["low"], cell["high"]
    between = "no interval" if low is None else f"interval {100 * low:+.1f} to {100 * high:+.1f}"
    return f"{100 * cell['value']:+.1f} points, {between}"


def _places(first: Evaluation, second: Evaluation, benchmark: str) -> list[int]:
    """Where the first's problems lie in the second."""
    ours, theirs = first.facts["problems"][benchmark], second.facts["problems"][benchmark]
    if set(ours) != set(theirs):
        alone = [
            f"{len(ids)} only in {e.name}" + (f" (such as {ids[0]})" if ids else "")
            for e, ids in ((first, sorted(set(ours) - set(theirs))), (second, sorted(set(theirs) - set(ours))))
        ]
        raise ValueError(
            f"{benchmark}: not the same problems, {' and '.join(alone)}; evaluate both with the same --benchmarks, "
            "--data and --limit"
        )
    place = {name: i for i, name in enumerate(theirs)}
    return [place[name] for name in ours]
