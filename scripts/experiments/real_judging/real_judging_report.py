"""Tables and figure of the judges on real data. Differences whose interval leaves out zero are bold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rewards.reporting.tables import markdown_table, percent, with_interval

FEWEST = 5  # chunks from which an interval is drawn
LENGTH, RANDOM = "length only", "random"
DATA = {"chat": "RM-Bench chat", "safety": "RM-Bench safety", "code": "RM-Bench code"}
KINDS = {"": "template", "_plain": "no template"}
OTHERS = {"verifier": ("generative_verifier", "verifier"), "pairwise": ("pairwise_judge", "pairwise judge")}
# Fixed before anything was measured: the default, the discount and the reading of the published script, mean log-prob.
DEFAULT: dict = {"discount": 1.0, "floor": 0.0, "form": "reward", "reduce": "sum", "end_token": True}
SHOWN = {
    "discount 1": {},
    "discount 0.95": {"discount": 0.95},
    "discount 0.95, no end token": {"discount": 0.95, "end_token": False},
    "mean log-probability": {"form": "logprob", "reduce": "mean"},
}
SWEPT = [(1.0, 0.0), (0.99, 0.0), (0.99, 0.1), (0.95, 0.0), (0.95, 0.1), (0.9, 0.0), (0.9, 0.1)]
WAYS = [(reduce, form) for reduce in ("sum", "mean") for form in ("reward", "logprob")]


def row_of(sweep: Sequence[Mapping], **changes) -> Mapping:
    """The row of a sweep whose setting is `DEFAULT` with these changes."""
    wanted = DEFAULT | changes
    return next(row for row in sweep if all(row["setting"][field] == value for field, value in wanted.items()))


def apart(difference: Mapping) -> bool:
    """Whether the interval of a difference leaves out zero."""
    return difference["low"] is not None and (difference["low"] > 0 or difference["high"] < 0)


def signed(difference: Mapping) -> str:
    """A difference in points with its interval, bold where that leaves out zero."""
    if difference["value"] is None:
        return "–"
    text = with_interval(*(100 * difference[key] for key in ("value", "low", "high")), form="+.1f")
    return f"**{text}**" if apart(difference) else text


def correlation(values: Mapping) -> str:
    """Correlations of score and length within a prompt, of one view or the mean of several."""
    known = [value for value in values.values() if value is not None]
    return f"{sum(known) / len(known):+.2f}" if known else "–"


def judges_table(results: Mapping[str, Mapping]) -> str:
    """Each judge on each part of RM-Bench: accuracy, what it has above the better of "longer wins" and "shorter wins",
    and the correlation of its score with length."""
    rows = []
    for data, title in DATA.items():
        for kind, words in KINDS.items():
            stage = results.get(data + kind)
            for label, changes in SHOWN.items() if stage else ():
                row = row_of(stage["sweep"], **changes)
                cells = [percent(row["figure"]), signed(row["above_length"]), correlation(row["length_correlation"])]
                rows.append([title, stage["asked"]["rows"], f"EndoRM, {words}, {label}", *cells])
        stage = results.get(data) or results.get(f"{data}_plain")
        for label, judge in stage["judges"].items() if stage else ():
            if label.startswith((LENGTH, RANDOM)):
                accuracy = percent(judge["scores"][f"{data}_average"])
                rows.append([title, stage["asked"]["rows"], label, accuracy, "", ""])
    for name, (key, label) in OTHERS.items():
        if stage := results.get(name):
            length = next(other for other in stage["judges"] if other.startswith(LENGTH))
            for judge, words in ((key, f"{label}, same model"), ("endorm", "EndoRM, template, discount 1, same rows")):
                if judge == key:
                    above = signed(stage["differences"][f"{key} minus {length}"]["chat_average"])
                else:
                    above = ""
                said = stage["judges"][judge]
                within = said.get("length_correlation", {}).get("within_prompt")
                rows.append(
                    [
                        f"{DATA['chat']}, sample",
                        stage["asked"]["rows"],
                        words,
                        percent(said["scores"]["chat_average"]),
                        above,
                        "–" if within is None else f"{within:+.2f}",
                    ]
                )
            accuracy = percent(stage["judges"][length]["scores"]["chat_average"])
            rows.append([f"{DATA['chat']}, sample", stage["asked"]["rows"], length, accuracy, "", ""])
    headings = ["data", "rows", "judge", "accuracy, %", "above length only, points", "correlation with length"]
    return markdown_table(headings, rows, left=1)


def sweep_table(stage: Mapping, end_token: bool = True) -> str:
    """What EndoRM has above the length floor under all discounts, floors, forms and reductions."""
    rows = []
    for discount, floor in SWEPT:
        found = [
            row_of(stage["sweep"], discount=discount, floor=floor, form=form, reduce=reduce, end_token=end_token)
            for reduce, form in WAYS
        ]
        rows.append([discount, floor, *(signed(row["above_length"]) for row in found)])
    names = {"reward": "Q - V", "logprob": "log-probability"}
    return markdown_table(["discount", "floor", *(f"{reduce}, {names[form]}" for reduce, form in WAYS)], rows, left=0)


def dsp_tables(stage: Mapping) -> str:
    """The 4 x 4 table of system prompts and test domains, and what a domain's own prompt adds by setting."""
    table = stage["tables"]["endorm"]["all"]
    views = [stage["views"][prompt] for prompt in table["rows"]]
    rows = []
    for prompt, view in zip(table["rows"], views):
        scores = view["judges"]["endorm"]["scores"]
        rows.append([f"EndoRM, prompt of {prompt}", *(percent(scores[column]) for column in table["columns"])])
    for label, judge in views[0]["judges"].items():
        if label != "endorm":
            rows.append([label, *(percent(judge["scores"][column]) for column in table["columns"])])
    cells = markdown_table([f"{stage['asked']['rows']} queries", *table["columns"]], rows)
    shown = [
        [label, percent(row["figure"]), signed(row["above_length"]), signed(row["steering"])]
        for label, row in ((label, row_of(stage["sweep"], **changes)) for label, changes in SHOWN.items())
    ]
    headings = [
        f"EndoRM, {stage['asked']['rows']} queries",
        "each domain under its own prompt, %",
        "above length only, points",
        "own prompt above the other three, points",
    ]
    return f"{cells}\n{markdown_table(headings, shown)}"


def ratio_cell(part: Mapping, clock: str) -> str:
    """A ratio of seconds, with its interval where there are chunks enough to draw from."""
    found = part["ratio"][clock]
    if part["chunks"] < FEWEST:
        return f"{found['value']:.2f}"
    return with_interval(found["value"], found["low"], found["high"], form=".2f")


def parity_table(stage: Mapping) -> str:
    """Scores and seconds of both ways, by length of the response."""
    rows = []
    for label, part in [*stage["buckets"].items(), ("all", stage["all"])]:
        times = [f"{part['processor_seconds'][way]:,.0f}" for way in ("ours", "one at a time")]
        ratios = [ratio_cell(part, clock) for clock in ("processor_seconds", "seconds")]
        difference = f"{part['largest_difference_nats']:.1e}"
        rows.append([label, part["responses"], part["chunks"], f"{part['tokens']:,}", difference, *times, *ratios])
    headings = ["tokens of the response", "responses", "chunks", "tokens", "largest difference, nats"]
    headings += ["ours, processor s", "one at a time, processor s", "ratio, processor", "ratio, clock"]
    return markdown_table(headings, rows)


def markdown(results: Mapping[str, Mapping]) -> str:
    """All tables of the stages that are there."""
    parts = []
    if any(data + kind in results for data in DATA for kind in KINDS):
        parts.append(f"### Judges\n\n{judges_table(results)}")
    for name, words in (("chat", "with the chat template"), ("chat_plain", "without template")):
        if name in results:
            title = f"### EndoRM above the length floor on chat, {words}, by setting"
            said = f"{title}\n\nPoints, {results[name]['asked']['rows']} rows, end token included.\n\n"
            parts.append(said + sweep_table(results[name]))
    if "dsp" in results:
        parts.append(f"### DSP\n\nAccuracy in percent.\n\n{dsp_tables(results['dsp'])}")
    if "parity" in results:
        stage = results["parity"]
        alike = f"{stage['decided_alike']:,} of {stage['comparisons']:,} comparisons are decided alike."
        busy = f" Measured while {stage['machine']}." if stage["machine"] else ""
        parts.append(f"### The published script\n\n{alike}{busy}\n\n{parity_table(stage)}")
    return "\n".join(parts)


def draw(results: Mapping[str, Mapping], path: Path) -> None:
    """What EndoRM has above the length floor on chat, by discount, form and reduction, with intervals, as a PNG."""
    stages = [
        (name, words) for name, words in (("chat", "template"), ("chat_plain", "no template")) if name in results
    ]
    if not stages:
        return
    figure = Figure(figsize=(5 * len(stages) + 1, 3.4), layout="constrained")
    for axis, (name, words) in zip(figure.subplots(1, len(stages), sharey=True, squeeze=False)[0], stages):
        discounts = [discount for discount, floor in SWEPT if floor == 0]
        for shift, (reduce, form) in enumerate(WAYS):
            found = [
                row_of(results[name]["sweep"], discount=d, form=form, reduce=reduce)["above_length"] for d in discounts
            ]
            values = [100 * f["value"] for f in found]
            error = [[100 * abs(f["value"] - f[end]) for f in found] for end in ("low", "high")]
            at = [i + 0.12 * (shift - 1.5) for i in range(len(discounts))]
            label = f"{reduce}, {'Q - V' if form == 'reward' else 'log-probability'}"
            axis.errorbar(at, values, yerr=error, fmt="o", markersize=4, label=label)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(discounts)), [f"{d:g}" for d in discounts])
        axis.set(title=f"RM-Bench chat, {words}", xlabel="discount")
    figure.axes[0].set_ylabel("points above length only")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)
