"""The README's speed tables from measured results, and what got slower since the last ones.

Each file in scripts/bench/results/ is one JSON object: `kind`, what `train.cost.stopwatch.record` gives (command,
commit, device, versions, settings), and by kind

    scoring   summary {name: {median, least, most (seconds), "over ours"}}, where "ours" is one of the names;
              extra_memory_mib {name: MiB or null}, largest_deviation_nats {name: x}, unavailable {name: reason}
    step      contenders {name: {samples_per_second, seconds {phase: s}, passes {network: n}, model_bytes {part: n},
              peak_bytes}}, ours by names that begin with "ours", as `step_table` reads them
    scaling   axes {name: {x, time, memory}}, each with exponent, ci95, expected (`scaling_fits.summarise`), and
              bytes_a_logit {slope, ci95} or null
    cost      estimates {GPUs: {seconds {case: s}, gpu_hours {case: h}}} (`scripts/estimate_cost.py`)

Machines differ, so that only ratios to a yardstick of the same run are compared: with the limit and the rivals
(scoring, step) and with x (exponents of scaling).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from step_table import step_table

BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
TOLERANCE = 0.05  # how much slower relative to its yardstick a figure may get
ANY = ("repeats", "rollouts")  # settings that change how well a thing is measured, and not what
Results = Mapping[str, Mapping]  # file name -> result


def _table(*rows: list[str]) -> str:
    head, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])


def _number(x: float | None, form: str) -> str:
    return "" if x is None else format(x, form)


def _interval(mean: float, low: float, high: float) -> str:
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def scoring_tables(results: Results) -> str:
    """One table a device."""
    devices = dict.fromkeys(r["device"] for r in results.values())
    same = {device: {name: r for name, r in results.items() if r["device"] == device} for device in devices}
    return "\n\n".join(f"`scripts/bench/bench_scoring.py` on {d}:\n\n{scoring_table(rs)}" for d, rs in same.items())


def scoring_table(results: Results) -> str:
    """A row a setting: seconds of ours; the time of each other contender in units of ours; memory over the weights of
    ours and of the naive way; the largest deviation of ours from float64. What was not measured is named below."""
    others = list(dict.fromkeys(n for r in results.values() for n in r["summary"] if n != "ours"))
    head = ["scoring", "ours, s (least to most)", *(f"`{n}`, x ours" for n in others)]
    rows = [[*head, "MiB: ours", "MiB: `naive`", "ours off float64, nats"]]
    missing: dict[str, str] = {}
    for name, r in sorted(results.items(), key=lambda item: item[1]["summary"]["ours"]["median"]):
        settings, ours, memory = r.get("settings", {}), r["summary"]["ours"], r.get("extra_memory_mib", {})
        shape = f"{settings.get('batch')} x ({settings.get('prompt_tokens')} + {settings.get('response_tokens')})"
        label = f"{settings.get('preset')}, {shape}{', one prompt' * bool(settings.get('shared_prompt'))}"
        label += f", {settings['dtype']}" if settings.get("dtype", "float32") != "float32" else ""
        times = [f"{ours['median']:.3f} ({ours['least']:.3f} to {ours['most']:.3f})"]
        times += [_number(r["summary"].get(n, {}).get("over ours"), ".2f") for n in others]
        deviation = _number(r.get("largest_deviation_nats", {}).get("ours"), ".1e")
        cells = [*times, _number(memory.get("ours"), ",.0f"), _number(memory.get("naive"), ",.0f"), deviation]
        rows.append([f"[{label}](scripts/bench/results/{name})", *cells])
        missing |= r.get("unavailable", {})
    notes = "".join(f"\n\n`{name}` not measured: {why}." for name, why in missing.items())
    return _table(*rows) + notes


def scaling_table(result: Mapping) -> str:
    """Exponents of seconds and memory along each axis, beside those of counted FLOPs and bytes."""
    rows = [["cost against", "from, to", "seconds: exponent", "FLOPs", "memory: exponent", "bytes that must be"]]
    for axis, found in result["axes"].items():
        cells = []
        for quantity in (found["time"], found["memory"]):
            if quantity is None or quantity["exponent"] is None:
                cells += ["", ""]
            else:
                cells += [_interval(quantity["exponent"], *quantity["ci95"]), f"{quantity['expected']:.3f}"]
        name = "weights in matrix products" if axis == "preset" else axis.replace("_", " ")
        rows.append([name, f"{found['x'][0]:,} to {found['x'][-1]:,}", *cells])
    table = _table(*rows)
    if result.get("bytes_a_logit"):
        slope = _interval(result["bytes_a_logit"]["slope"], *result["bytes_a_logit"]["ci95"])
        table += f"\n\nMemory for each state and vocabulary entry: {slope} bytes; fp32 logits of all would be 4."
    return table


def cost_table(result: Mapping) -> str:
    """Seconds and GPU-hours of the estimate by case."""
    rows = [["estimate on paper", "seconds: least, central, most", "GPU-hours"]]
    for gpus, found in result["estimates"].items():
        ranges = [", ".join(f"{x:,.{k}f}" for x in found[q].values()) for q, k in (("seconds", 0), ("gpu_hours", 1))]
        rows.append([f"{result['settings']['config']}, {gpus} H100s", *ranges])
    return _table(*rows)


def scoring_figures(result: Mapping) -> dict[str, float]:
    """Seconds of ours over those of each other contender."""
    return {f"ours / {n}": 1 / s["over ours"] for n, s in result["summary"].items() if n != "ours"}


def step_figures(result: Mapping) -> dict[str, float]:
    """Seconds a sample of each of ours over each rival's; without a rival, over the first of ours."""
    speed = {name: c["samples_per_second"] for name, c in result["contenders"].items()}
    ours = [name for name in speed if name.startswith("ours")]
    yardsticks = [name for name in speed if name not in ours] or ours[:1]
    return {f"{a} / {b}": speed[b] / speed[a] for a in ours for b in yardsticks if a != b}


def scaling_figures(result: Mapping) -> dict[str, float]:
    """Exponents of seconds."""
    exponents = {axis: found["time"]["exponent"] for axis, found in result["axes"].items()}
    return {f"exponent in {axis}": x for axis, x in exponents.items() if x is not None}


def _each(table: Callable[[Mapping], str]) -> Callable[[Results], str]:
    """A table a result, below its command and device (an estimate on paper has none)."""

    def all_of_them(results: Results) -> str:
        parts = []
        for name, r in results.items():
            device = f" on {r['device']}" if r["kind"] != "cost" else ""
            parts.append(f"`{r['command']}`{device} ([{name}](scripts/bench/results/{name})):\n\n{table(r)}")
        return "\n\n".join(parts)

    return all_of_them


KINDS = {  # the text of all results of the kind, and the figures of one that are compared; larger is worse
    "scoring": (scoring_tables, scoring_figures),
    "step": (_each(step_table), step_figures),
    "scaling": (_each(scaling_table), scaling_figures),
    "cost": (_each(cost_table), lambda result: {}),
}


def known(results: Results) -> dict[str, Mapping]:
    """Results of the kinds that have a table, by kind and name."""
    kinds = list(KINDS)
    kept = {name: r for name, r in results.items() if r.get("kind") in KINDS}
    return dict(sorted(kept.items(), key=lambda item: (kinds.index(item[1]["kind"]), item[0])))


def tables(results: Results) -> str:
    """Markdown of all results, kind by kind. A warning names those of a kind that has no table."""
    others, found = [name for name, r in results.items() if r.get("kind") not in KINDS], known(results)
    if others:
        warnings.warn(f"of no kind among {', '.join(KINDS)}, left out: {', '.join(others)}", stacklevel=2)
    kinds = {kind: {name: r for name, r in found.items() if r["kind"] == kind} for kind in KINDS}
    return "\n\n".join(KINDS[kind][0](same) for kind, same in kinds.items() if same)


def insert(page: str, text: str) -> str:
    """The page with `text` in place of what stands between the two markers.

    Raises:
        ValueError: the markers are not there once each, in their order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(f"The page needs one line {BEGIN} and after it one line {END}, between which tables go.")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}" if text else f"{before}{BEGIN}\n{END}{after}"


def compare(now: Results, last: Results, tolerance: float = TOLERANCE) -> tuple[list[str], bool]:
    """Each figure beside the last one, and whether any got worse by more than `tolerance`.

    Results of other devices or settings are named and not compared, and so are files that only one side has.
    """
    now, last = known(now), known(last)
    lines, slower = [], False
    for name, result in now.items():
        if name not in last or last[name]["kind"] != result["kind"]:
            lines.append(f"{name}: new, nothing to compare with")
            continue
        if last[name]["device"] != result["device"]:
            lines.append(f"{name}: another device, not compared ({last[name]['device']}, now {result['device']})")
            continue
        settings = [{k: v for k, v in r.get("settings", {}).items() if k not in ANY} for r in (last[name], result)]
        if settings[0] != settings[1]:
            lines.append(f"{name}: other settings, not compared")
            continue
        figures = KINDS[result["kind"]][1]
        before = figures(last[name])
        for figure, x in figures(result).items():
            if figure not in before:
                lines.append(f"{name}: {figure} {x:.3f}, new")
                continue
            change = x / before[figure] - 1
            worse = change > tolerance
            slower |= worse
            lines.append(f"{'SLOWER  ' * worse}{name}: {figure} {before[figure]:.3f} -> {x:.3f} ({change:+.1%})")
        lines += [f"{name}: {figure}, no longer measured" for figure in before if figure not in figures(result)]
    return lines + [f"{name}: gone" for name in last if name not in now], slower
