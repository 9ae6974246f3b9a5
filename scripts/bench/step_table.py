"""The table and the figure of a benchmark of whole RL steps."""

from __future__ import annotations

from pathlib import Path

from rewards.reporting.tables import markdown_table
from train.cost.stopwatch import MIB

# disjoint parts of a step, in their order; what is left of the whole is the rest
PHASES = {
    "generation": "generation",
    "frozen forward": "frozen base, reference",
    "reference": "frozen base, reference",
    "endorm after it": "reward",
    "reward model": "reward",
    "policy log-probs": "policy log-probs",
    "critic": "critic",
    "update": "update",
    "garbage collection": "garbage collection",
}


def parts(seconds: dict[str, float]) -> dict[str, float]:
    """The seconds of each part of a step, with the rest, from those of its phases."""
    found: dict[str, float] = dict.fromkeys([*PHASES.values(), "rest"], 0.0)
    for phase, part in PHASES.items():
        found[part] += seconds.get(phase, 0.0)
    found["rest"] = max(0.0, seconds["whole"] - sum(found.values()))
    return found


def step_table(result: dict) -> str:
    """Markdown: each contender's speed, passes through its networks, memory and milliseconds by part."""
    contenders = result["contenders"]
    first = next(iter(contenders.values()))
    shown = [p for p in parts(first["seconds"]) if any(parts(c["seconds"])[p] for c in contenders.values())]
    head = ["contender", "samples/s", "of the first", "passes of a response", "tokens read for it"]
    head += ["models, MiB", "peak, MiB"]
    rows = []
    for name, c in contenders.items():
        passes, read = (", ".join(f"{k} {n:g}" for k, n in c.get(x, {}).items()) for x in ("passes", "tokens_read"))
        peak = "" if c["peak_bytes"] is None else f"{c['peak_bytes'] / MIB:.0f}"
        ratio = c["samples_per_second"] / first["samples_per_second"]
        cells = [name, f"{c['samples_per_second']:.3g}", f"{ratio:.2f}", passes, read]
        cells += [f"{c['model_bytes']['all'] / MIB:.2f}", peak]
        rows.append([*cells, *(f"{1000 * parts(c['seconds'])[p]:.1f}" for p in shown)])
    table = markdown_table([*head, *(f"{p}, ms" for p in shown)], rows)
    return f"{table}\n{limits_table(result)}" if result.get("limits") else table


def limits_table(result: dict) -> str:
    """Markdown: of each phase that has products of its own their bare time, and what share of each contender's time
    that is. 1 would be products and nothing else; of the whole also what has no limit of its own counts."""
    limits = result["limits"]
    rows = [["limit, ms", *(f"{1000 * seconds:.1f}" for seconds in limits.values())]]
    for name, c in result["contenders"].items():
        found = parts(c["seconds"]) | {"whole": c["seconds"]["whole"]}
        rows.append([name, *(f"{limits[p] / found[p]:.2f}" if found[p] else "" for p in limits)])
    return markdown_table(["share of the limit", *limits], rows)


def draw_steps(result: dict, path: Path) -> None:
    """A bar a contender, the parts of its step one after the other, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    contenders = result["contenders"]
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.45 * len(contenders)), layout="constrained")
    names, left = list(contenders), [0.0] * len(contenders)
    for part in parts(contenders[names[0]]["seconds"]):
        widths = [1000 * parts(c["seconds"])[part] for c in contenders.values()]
        if any(widths):
            axes.barh(names, widths, left=left, label=part, color="lightgrey" if part == "rest" else None)
            left = [x + w for x, w in zip(left, widths)]
    axes.invert_yaxis()
    axes.set_xlabel(f"milliseconds of one step, {result['device']}")
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=150)
    plt.close(figure)
