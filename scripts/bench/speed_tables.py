"""The speed tables of scripts/bench/README.md, written from the results in scripts/bench/results/.

    python scripts/bench/speed_tables.py          # writes the tables between the two marks of the README
    python scripts/bench/speed_tables.py --check  # writes nothing; exit status 1 if the README holds other tables

Each file in scripts/bench/results/ is one JSON object: `kind`, what `train.cost.stopwatch.measurement` gives (command,
commit, device, versions, settings), and by kind

    scoring   summary {name: {median, least, most (seconds), "over ours"}}, where "ours" is one of the names;
              extra_memory_mib {name: MiB or null}, largest_deviation_nats {name: x}, unavailable {name: reason}
    step      contenders {name: {samples_per_second, seconds {phase: s}, passes {network: n}, model_bytes {part: n},
              peak_bytes}}, as `step_table` reads them
    scaling   axes {name: {x, time, memory}}, each with exponent, ci95, expected (`scaling_fits.summarise`), and
              bytes_a_logit {slope, ci95} or null
    cost      estimates {GPUs: {seconds {case: s}, gpu_hours {case: h}}} (`scripts/plan.py --hours`)
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from step_table import step_table

from rewards.reporting.tables import insert, markdown_table, with_interval

HERE = Path(__file__).resolve().parent
Results = Mapping[str, Mapping]  # file name -> result


def scoring_tables(results: Results) -> str:
    """One table for each device."""
    devices = dict.fromkeys(r["device"] for r in results.values())
    same = {device: {name: r for name, r in results.items() if r["device"] == device} for device in devices}
    return "\n\n".join(f"`scripts/bench/bench_scoring.py` on {d}:\n\n{scoring_table(rs)}" for d, rs in same.items())


def scoring_table(results: Results) -> str:
    """A row for each setting: seconds of ours; the time of each other contender in units of ours; memory over the
    weights of ours and of the naive way; the largest deviation of ours from float64. What was not measured is named
    below the table."""

    def number(x: float | None, form: str) -> str:
        return "" if x is None else format(x, form)

    others = list(dict.fromkeys(n for r in results.values() for n in r["summary"] if n != "ours"))
    head = ["scoring", "ours, s (least to most)", *(f"`{n}`, x ours" for n in others)]
    rows, missing = [], {}
    for name, r in sorted(results.items(), key=lambda item: item[1]["summary"]["ours"]["median"]):
        settings, ours, memory = r.get("settings", {}), r["summary"]["ours"], r.get("extra_memory_mib", {})
        shape = f"{settings.get('batch')} x ({settings.get('prompt_tokens')} + {settings.get('response_tokens')})"
        label = f"{settings.get('preset')}, {shape}{', one prompt' * bool(settings.get('shared_prompt'))}"
        group = settings.get("responses_per_prompt", 1)
        label += f", {group} a prompt" if group > 1 else ""
        label += f", {settings['dtype']}" if settings.get("dtype", "float32") != "float32" else ""
        times = [with_interval(ours["median"], ours["least"], ours["most"])]
        times += [number(r["summary"].get(n, {}).get("over ours"), ".2f") for n in others]
        deviation = number(r.get("largest_deviation_nats", {}).get("ours"), ".1e")
        cells = [*times, number(memory.get("ours"), ",.0f"), number(memory.get("naive"), ",.0f"), deviation]
        rows.append([f"[{label}](results/{name})", *cells])
        missing |= r.get("unavailable", {})
    table = markdown_table([*head, "MiB: ours", "MiB: `naive`", "ours off float64, nats"], rows)
    return "\n".join([table, *(f"`{name}` was not measured: {why}.\n" for name, why in missing.items())]).strip()


def scaling_table(result: Mapping) -> str:
    """Exponents of seconds and memory along each axis, beside those of counted FLOPs and bytes."""
    head = ["cost against", "from, to", "seconds: exponent", "FLOPs", "memory: exponent", "bytes that must be"]
    rows = []
    for axis, found in result["axes"].items():
        cells = []
        for quantity in (found["time"], found["memory"]):
            if quantity is None or quantity["exponent"] is None:
                cells += ["", ""]
            else:
                cells += [with_interval(quantity["exponent"], *quantity["ci95"]), f"{quantity['expected']:.3f}"]
        name = "weights in matrix products" if axis == "preset" else axis.replace("_", " ")
        rows.append([name, f"{found['x'][0]:,} to {found['x'][-1]:,}", *cells])
    table = markdown_table(head, rows)
    if result.get("bytes_a_logit"):
        slope = with_interval(result["bytes_a_logit"]["slope"], *result["bytes_a_logit"]["ci95"])
        table += f"\nMemory for each state and vocabulary entry: {slope} bytes; fp32 logits of all would be 4."
    return table.strip()


def cost_table(result: Mapping) -> str:
    """Seconds and GPU-hours of the estimate by case."""
    rows = []
    for gpus, found in result["estimates"].items():
        ranges = [", ".join(f"{x:,.{k}f}" for x in found[q].values()) for q, k in (("seconds", 0), ("gpu_hours", 1))]
        rows.append([f"{result['settings']['config']}, {gpus} H100s", *ranges])
    return markdown_table(["estimate on paper", "seconds: least, central, most", "GPU-hours"], rows).strip()


def _each(table: Callable[[Mapping], str]) -> Callable[[Results], str]:
    """A table for each result, below its command and device (an estimate on paper has none)."""

    def all_of_them(results: Results) -> str:
        parts = []
        for name, r in results.items():
            device = f" on {r['device']}" if r["kind"] != "cost" else ""
            parts.append(f"`{r['command']}`{device} ([{name}](results/{name})):\n\n{table(r).strip()}")
        return "\n\n".join(parts)

    return all_of_them


KINDS = {  # the text of all results of a kind
    "scoring": scoring_tables,
    "step": _each(step_table),
    "scaling": _each(scaling_table),
    "cost": _each(cost_table),
}


def tables(results: Results) -> str:
    """Markdown of all results, kind by kind. A warning names those of a kind that has no table."""
    others = [name for name, r in results.items() if r.get("kind") not in KINDS]
    if others:
        warnings.warn(f"of no kind among {', '.join(KINDS)}, left out: {', '.join(others)}", stacklevel=2)
    kinds = {kind: {n: r for n, r in sorted(results.items()) if r.get("kind") == kind} for kind in KINDS}
    return "\n\n".join(KINDS[kind](same) for kind, same in kinds.items() if same)


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of JSON files")
    parser.add_argument("--readme", type=Path, default=HERE / "README.md", help="page with the two marks")
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 if the page differs")
    args = parser.parse_args(argv)

    results = {p.name: json.loads(p.read_text(encoding="utf-8")) for p in sorted(args.results.glob("*.json"))}
    page = args.readme.read_text(encoding="utf-8")
    made = insert(page, "speed", tables(results))
    if not args.check:
        args.readme.write_text(made, encoding="utf-8")
    elif made != page:
        print(f"{args.readme}: these are not the tables that the results give. Run scripts/bench/speed_tables.py")
        return 1
    print(f"{args.readme}: the tables are those of {len(results)} results")
    return 0


if __name__ == "__main__":
    sys.exit(main())
