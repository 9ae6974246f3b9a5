"""From the flags of an evaluation to its results: judges, floors, paired differences and sweeps on any benchmark.

A benchmark is a module with `summary`, `differences` and `headline`. A view is its comparisons under one prompt: DSP
has four, the others one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import ModuleType

import numpy as np
from tqdm.auto import tqdm

from rewards.endorm import FORMS, REDUCES, TERMINALS
from rewards.frozen.sweep import Setting, grid
from rewards.preferences import bootstrap as statistics
from rewards.preferences.comparisons import Comparisons, floors
from rewards.preferences.judging import (
    JUDGES,
    EndoRMScores,
    Verdicts,
    endorm_verdicts,
    load_judge,
    rival_verdicts,
)
from rewards.reporting.tables import markdown_table, percent

SWEPT: dict[str, list] = {  # default values of --sweep
    "discounts": [1.0, 0.999, 0.99, 0.98, 0.97, 0.95, 0.93, 0.9],
    "forms": list(FORMS),
    "floors": [0.0, 0.1, 0.5],
}


def add_arguments(parser: argparse.ArgumentParser, data: str | None, output: str) -> None:
    """The flags that all evaluations share."""
    add = parser.add_argument
    add("--model", required=True, help="name or folder of the model that judges")
    add("--judge", nargs="+", default=["endorm"], help=f"{', '.join(JUDGES)}; NAME=MODEL for one with its own model")
    add("--reference", help="for implicit_reward: the model before its training")
    add("--template", nargs="+", default=[], help="NAME=FILE: what a generative judge reads, in place of ours")
    add("--data", default=data, help="hub name or local file")
    add("--split", help="of the data, default the benchmark's own")
    add("--output", default=output, help="folder for results.json, results.md and heatmap.png")
    add("--limit", type=int, help="evenly spaced rows to use, default all")
    add("--cache", default="outputs/score_cache", help="folder of per-token scores; nothing in it is computed again")
    add("--no_chat", action="store_true", help="prompts as plain text, for models without a chat template")
    add("--too_long", choices=("count", "cut"), default="count", help="what to do beyond the model's positions")
    add("--alpha", type=float, default=1.0, help="EndoRM: temperature of the soft value")
    add("--discount", type=float, default=1.0, help="EndoRM: token h weighs max(discount^h, floor)")
    add("--floor", type=float, default=0.0, help="EndoRM: least weight of a token")
    add("--form", choices=FORMS, default="reward", help="EndoRM: Q - V, or log-probabilities alone")
    add("--reduce", choices=REDUCES, default="sum", help="EndoRM: sum or mean over tokens")
    add("--terminal", choices=TERMINALS, default="uniform", help="EndoRM: V after the end")
    add("--no_end_token", action="store_true", help="EndoRM: leave the end token's reward out")
    add("--sweep", action="store_true", help="EndoRM under all combinations of the lists below, without a new forward")
    add("--alphas", type=float, nargs="+", default=[1.0], help="soft values to keep, and to sweep")
    for name, values in SWEPT.items():
        add(f"--{name}", nargs="+", type=type(values[0]), default=values, help="to sweep")
    add("--reduces", nargs="+", choices=REDUCES, default=["sum"], help="to sweep")
    add("--terminals", nargs="+", choices=TERMINALS, default=["uniform"], help="to sweep")
    add("--end_tokens", nargs="+", type=int, choices=(0, 1), default=[1], help="to sweep: without, with")
    add("--draws", type=int, default=10_000, help="of the bootstrap")
    add("--dtype", default="auto", help="of the models: auto, float32, bfloat16")
    add("--device", help="default CUDA where there is one, else the CPU")
    add("--batch_tokens", type=int, default=8192, help="padded tokens in one forward")
    add("--trust_remote_code", action="store_true", help="run Python code that comes with the models")


def setting_of(args: argparse.Namespace) -> Setting:
    """EndoRM's setting that the flags name."""
    return Setting(args.alpha, args.discount, args.floor, args.form, args.reduce, args.terminal, not args.no_end_token)


def endorm_source(args: argparse.Namespace) -> EndoRMScores:
    """EndoRM's scores as the flags say, with soft values at every alpha that they name."""
    return EndoRMScores(
        args.model,
        args.cache,
        alphas=[args.alpha, *args.alphas],
        cut=args.too_long == "cut",
        dtype=args.dtype,
        device=args.device,
        batch_tokens=args.batch_tokens,
        trust_remote_code=args.trust_remote_code,
    )


def judge_views(views: Mapping[str, Comparisons], args: argparse.Namespace, source: EndoRMScores | None = None):
    """Verdicts of every judge that the flags name: label -> view -> `Verdicts`. Judges are loaded one at a time."""
    templates = dict(entry.split("=", 1) for entry in args.template)
    verdicts: dict[str, dict[str, Verdicts]] = {}
    for label in dict.fromkeys(args.judge):
        name, _, model = label.partition("=")
        if name == "endorm" and not model:
            source = source or endorm_source(args)
            setting = [setting_of(args)]
            verdicts[label] = {
                v: endorm_verdicts(source, c, setting, f"{label} {v}".strip())[0] for v, c in views.items()
            }
            continue
        settings = {name: getattr(args, name) for name in ("dtype", "device", "batch_tokens", "trust_remote_code")}
        if name in templates:
            settings["template"] = templates[name]
        judge = load_judge(name, model or args.model, reference=args.reference, **settings)
        verdicts[label] = {v: rival_verdicts(judge, c, args.too_long == "cut") for v, c in views.items()}
    return verdicts


def assess(
    benchmark: ModuleType, comparisons: Comparisons, verdicts: Mapping[str, Verdicts], draws: int, **options
) -> dict:
    """Figures of every judge on one view, with floors that read nothing and differences from the first judge.

    Returns:
        "judges": label -> the benchmark's summary, and of real judges "length_correlation", "facts" and "notes".
        "differences": "FIRST minus OTHER" -> score -> {"value", "low", "high"}, paired.
    """
    outcome = {label: v.outcome for label, v in verdicts.items()} | floors(comparisons)
    judges = {}
    for label, o in outcome.items():
        judges[label] = benchmark.summary(comparisons, o, draws=draws, **options)
        if label in verdicts:
            v = verdicts[label]
            judges[label] |= {"facts": v.facts, "notes": [*comparisons.notes, *v.notes]}
            if v.scores is not None:
                judges[label]["length_correlation"] = statistics.length_correlation(comparisons.groups, v.scores)
    first = next(iter(verdicts))
    differences = {
        f"{first} minus {other}": benchmark.differences(comparisons, outcome[first], o, draws=draws, **options)
        for other, o in outcome.items()
        if other != first
    }
    return {"judges": judges, "differences": differences}


def sweep(benchmark: ModuleType, views: Mapping[str, Comparisons], source: EndoRMScores, args) -> list[dict]:
    """EndoRM's scores on every view under every combination of the lists that the flags name.

    Returns:
        One a combination, in the grid's order: "setting", its fields; "views", view -> score -> value; "figure", the
        benchmark's headline with its interval; "above_length", that less the one of the length-only floor, paired;
        "length_correlation", view -> Spearman's within a prompt; and from DSP "steering".
    """
    settings = grid(
        alpha=args.alphas,
        discount=args.discounts,
        floor=args.floors,
        form=args.forms,
        reduce=args.reduces,
        terminal=args.terminals,
        end_token=[bool(e) for e in args.end_tokens],
    )
    rows: list[dict[str, dict]] = [{"setting": vars(s), "views": {}} for s in settings]
    outcomes: list[dict[str, np.ndarray]] = [{} for _ in settings]
    by_length = {view: next(iter(floors(comparisons).values())) for view, comparisons in views.items()}
    for view, comparisons in views.items():
        verdicts = endorm_verdicts(source, comparisons, settings, f"endorm {view}".strip())
        for row, outcome, v in zip(rows, outcomes, verdicts):
            scores = benchmark.summary(comparisons, v.outcome, draws=1)["scores"]
            row["views"][view] = {name: score["value"] for name, score in scores.items()}
            outcome[view] = v.outcome
            correlation = statistics.length_correlation(comparisons.groups, v.scores or [])["within_prompt"]
            row.setdefault("length_correlation", {})[view] = correlation
    for row, outcome in zip(rows, tqdm(outcomes, desc="sweep", unit="setting")):
        row["figure"] = benchmark.headline(views, outcome, draws=args.draws)
        row["above_length"] = benchmark.headline(views, outcome, draws=args.draws, minus=by_length)
        if hasattr(benchmark, "steering"):
            row["steering"] = benchmark.steering(views, outcome, draws=args.draws)
    return rows


def sweep_panels(rows: list[dict]) -> tuple[str, dict]:
    """A table of a sweep in Markdown, the best setting first, and its heatmap: discounts down, all else across.

    Args:
        rows: as `sweep` gives them. Those without a figure come last.
    """
    fields = list(rows[0]["setting"])
    across = [f for f in fields if f != "discount" and len({row["setting"][f] for row in rows}) > 1]
    ranked = sorted(rows, key=lambda row: np.inf if row["figure"]["value"] is None else -row["figure"]["value"])
    table = [
        [*(row["setting"][f] for f in fields), percent(row["above_length"]), percent(row["figure"])] for row in ranked
    ]
    columns = list(dict.fromkeys(tuple(row["setting"][f] for f in across) for row in rows))
    discounts = list(dict.fromkeys(row["setting"]["discount"] for row in rows))
    cells = {(r["setting"]["discount"], tuple(r["setting"][f] for f in across)): r["figure"]["value"] for r in rows}
    matrix = [[cells[d, c] for c in columns] for d in discounts]
    labels = [" ".join(f"{f} {x}" for f, x in zip(across, c)) or "endorm" for c in columns]
    headings = [*(f.replace("_", " ") for f in fields), "less length only, paired", "accuracy (95 % interval)"]
    markdown = markdown_table(headings, table)
    if len(rows) > 1:
        markdown += (
            f"\nThe intervals are each setting's own: the best of {len(rows)} on one set looks better than it is.\n"
        )
    return markdown, {"sweep": (matrix, [f"discount {d}" for d in discounts], labels)}


def judge_tables(results: Mapping, columns) -> str:
    """Markdown of what `assess` gave: the judges, their differences, and how score and length go together."""
    judges, differences = results["judges"], results["differences"]
    shown = list(columns or next(iter(judges.values()))["scores"])
    parts = [statistics.markdown_summaries(judges, shown)]
    rows = [[name, *(percent(d[c]) for c in shown)] for name, d in differences.items()]
    if rows:
        headings = ["difference (95 % interval, paired by prompt)", *(c.replace("_", " ") for c in shown)]
        parts.append(markdown_table(headings, rows))
    correlations = [
        [label, *("–" if c[k] is None else f"{c[k]:+.2f}" for k in ("within_prompt", "all"))]
        for label, judge in judges.items()
        if (c := judge.get("length_correlation"))
    ]
    if correlations:
        headings = ["Spearman's correlation of score and length", "within a prompt", "over all"]
        parts.append(markdown_table(headings, correlations))
    facts = [[label, f"{name} {value}"] for label, j in judges.items() for name, value in j.get("facts", {}).items()]
    if facts:
        parts.append(markdown_table(["judge", "count"], facts))
    notes = dict.fromkeys(n for judge in judges.values() for n in (*judge["notes"], *judge.get("missing", ())))
    return "\n".join([*parts, *(f"- {note}" for note in notes)]) + "\n"
