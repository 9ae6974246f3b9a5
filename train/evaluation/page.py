"""The page of `scripts/report.py`: tables and figures of evaluations and training runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rewards.reporting.tables import markdown_table, percent
from train.evaluation.differences import ROLES, SETTINGS, START, collapse_signs, headline, points, sentence
from train.evaluation.folders import Evaluation, Run
from train.evaluation.problems import PAPER
from train.evaluation.summary import summarise_model, title
from train.evaluation.training_figure import draw_runs, panels

PAPER_ROWS = {  # the reinforcement learning table of arXiv 2506.23235, Qwen2.5-Math-7B; last the average
    "base, as the paper has it": (19.0, 42.3, 63.0, 12.1, 28.4, 33.0),
    "EndoRM RL, as the paper has it": (20.4, 49.4, 67.4, 22.8, 34.2, 38.8),
}
RESPONSES = ("tokens", "truncated", "boxed", "code", "repetition", "no answer", "ungraded")


def accuracy_table(evaluations: Sequence[Evaluation], draws: int) -> str:
    """Accuracy in the paper's layout under the paper's own rows; other benchmarks to the right of the average."""
    others = list(dict.fromkeys(b for e in evaluations for b in e.figures if b not in PAPER))
    rows = [
        [name, "not stated", *(f"{v:.1f}" for v in row), *("–" for _ in others)] for name, row in PAPER_ROWS.items()
    ]
    for e in evaluations:
        for figure in filter(None, (e.accuracy, e.majority if e.role == "base" else None)):
            cells = {b: e.facts["results"][e.model][b][figure] for b in e.figures}
            if set(PAPER) <= set(cells):
                five = summarise_model({b: {figure: e.figures[b][figure]} for b in PAPER}, draws)
                cells["average"] = five["average"][figure]
            columns = (*PAPER, "average", *others)
            how = f"{figure}, {e.decoding}" if e.facts["settings"]["temperature"] else "greedy"
            rows.append([e.name, how, *(percent(cells.get(b)) for b in columns)])
    text = markdown_table(["", "decoding", *map(title, (*PAPER, "average", *others))], rows)
    return (
        f"{text}\nIn percent, with 95 % intervals over problems. The first {len(PAPER_ROWS)} rows are copied from "
        "arXiv 2506.23235 (Qwen2.5-Math-7B); it states neither samples nor temperature nor intervals, so they are no "
        "comparison. Avg is over the five benchmarks, and empty where one was not evaluated.\n"
    )


def differences_table(outcomes: Mapping[str, Mapping[str, Mapping]], lacking: Mapping[str, Sequence[str]]) -> str:
    """Policy minus each role in points, and a sentence on each; `lacking`: benchmark left out -> roles without it."""
    names = list(next(iter(outcomes.values())))
    rows = [[f"policy minus {ROLES[role][0]}", *(points(cells[b]) for b in names)] for role, cells in outcomes.items()]
    intervals = sum(cell["low"] is not None for cells in outcomes.values() for cell in cells.values())
    lines = [markdown_table(["", *map(title, names)], rows)]
    lines.append(
        "In percentage points, paired by problem, with 95 % intervals of a bootstrap over problems. The intervals "
        "hold for these weights: another training seed is not in them. "
        f"Of {intervals} intervals, about {intervals / 20:.1f} would leave zero out by chance alone.\n"
    )
    lines += [f"- {sentence(ROLES[role][0], cells)}" for role, cells in outcomes.items()]
    for benchmark, roles in lacking.items():
        lines.append(f"- {title(benchmark)} is left out: not evaluated for {', '.join(ROLES[r][0] for r in roles)}.")
    return "\n".join(lines) + "\n"


def settings_table(evaluations: Sequence[Evaluation]) -> str:
    """How each evaluation was made, and its own notes."""
    rows = [[e.name, *(str(e.facts["settings"].get(s, "–")) for s in SETTINGS)] for e in evaluations]
    notes: dict[str, list[str]] = {}
    for e in evaluations:
        for note in e.facts.get("notes", []):
            notes.setdefault(note, []).append(e.name)
    lines = [f"\n- {note} ({', '.join(names)})" for note, names in notes.items()]
    return markdown_table(["", *SETTINGS], rows) + "".join(lines) + "\n"


def responses_table(evaluations: Sequence[Evaluation], differences: Mapping[str, Mapping[str, Mapping]]) -> str:
    """What responses look like, the mean over each evaluation's benchmarks; `differences`: policy minus base."""
    rows = []
    for figure in RESPONSES:
        scale = 1 if figure == "tokens" else 100
        means = [scale * np.mean([columns[figure].mean() for columns in e.figures.values()]) for e in evaluations]
        cells = [points(headline(differences[figure]), scale)] if differences else []
        rows.append([figure + ("" if figure == "tokens" else " (%)"), *(f"{m:.1f}" for m in means), *cells])
    return markdown_table(
        ["", *(e.name for e in evaluations), *["policy minus sampled base"] * bool(differences)], rows
    )


def run_section(run: Run) -> str:
    """One run: how metrics went from its start to its end, what its watches said, signs of a collapse."""
    shown = [metric for metrics in panels([run.rows]).values() for metric in metrics]
    metrics = [*shown, *(f"eval_{metric}" for metric in shown), *filter(None, [run.heldout])]
    rows = []
    for metric in dict.fromkeys(metrics):
        steps, values = run.series(metric)
        if values:
            low, high = int(np.argmin(values)), int(np.argmax(values))
            extremes = (f"{values[i]:.4g} (step {steps[i]})" for i in (low, high))
            rows.append([metric, *(f"{np.mean(v):.4g}" for v in (values[:START], values[-START:])), *extremes])
    lines = [f"### {run.name}\n", markdown_table(["", "start", "end", "lowest", "highest"], rows)]
    lines.append(f"Start and end are means of the first and last {START} logged values.\n")
    if run.watches is None:
        lines.append("- There is no watches.jsonl: no watch tripped, or none was on.")
    lines += [f"- Step {w['step']}, watch {w['watch']}: {w['message']}." for w in run.watches or []]
    signs = collapse_signs(run)
    lines += [f"- Sign of a collapse: {sign}." for sign in signs]
    if not signs:
        lines.append("- No sign of a collapse in length, repetition, end rate or held-out prompts, as far as logged.")
    if run.best:
        lines.append(f"- Best checkpoint: {run.best}.")
    return "\n".join(lines) + "\n"


def provenance(evaluations: Sequence[Evaluation], runs: Sequence[Run]) -> str:
    """Command, commit and versions of all."""
    rows = []
    parts = [(e.name, e.facts) for e in evaluations] + [(run.name, run.facts) for run in runs]
    for name, facts in parts:
        versions = ", ".join(f"{k} {v}" for k, v in facts.get("versions", {}).items())
        commit = facts.get("commit") or facts.get("git_commit")
        command = facts.get("command")
        if command:  # a training keeps its command as a list of words
            command = f"`{command if isinstance(command, str) else shlex.join(command)}`"
        rows.append([name, *(x or "not known" for x in (command, commit, versions))])
    return markdown_table(["", "command", "commit", "versions"], rows)


def draw_curves(runs: Sequence[Run], path: Path) -> bool:
    """Training curves of all runs, one panel a metric, as a PNG; False, and no file, where nothing was logged."""
    return draw_runs({run.name: run.rows for run in runs}, path, more=[run.heldout for run in runs if run.heldout])


def draw_differences(outcomes: Mapping[str, Mapping[str, Mapping]], path: Path) -> None:
    """Policy minus each role with intervals, the average or the only benchmark, as a PNG."""
    cells = [headline(found) for found in outcomes.values()]
    figure = Figure(figsize=(6.5, 1 + 0.4 * len(cells)), layout="constrained")
    axis = figure.subplots()
    for y, cell in enumerate(cells):
        if cell["low"] is not None:
            axis.plot([100 * cell["low"], 100 * cell["high"]], [y, y], color="tab:blue")
        axis.plot(100 * cell["value"], y, "o", color="tab:blue")
    axis.axvline(0, color="grey", lw=1)
    axis.set_yticks(range(len(cells)), [ROLES[role][0] for role in outcomes], fontsize=8)
    axis.set_xlabel("policy minus this one, points of accuracy (95 %)", fontsize=8)
    axis.invert_yaxis()
    figure.savefig(path, dpi=120)
