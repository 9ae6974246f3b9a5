"""Any preference pairs: a prompt, and responses of which some are better than others.

Files are read as they are, by the layouts of `layouts.LAYOUTS`. PRESETS hold the arguments of `load` for known
datasets, with the column to report by: `load(**PRESETS["rewardbench2"])`. They follow the datasets' cards and
published code; none has been loaded from the hub here. Only accuracy is computed: RewardBench also weighs its subsets
into sections; RewardBench 2 gives part of a point where the chosen response shares the top score, and has a score of
its own for its subset "Ties".
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from rewards.preferences import bootstrap as statistics
from rewards.preferences.comparisons import Comparisons, Group, as_prompt
from rewards.preferences.layouts import (
    LAYOUTS,
    NAMED,
    PROMPTS,
    SIDE_SCORES,
    SURE_PROMPTS,
    SYSTEMS,
    Layout,
    find_layout,
)
from rewards.preferences.messages import LeftOut
from rewards.preferences.pair_rows import pairs_of, read_row
from rewards.preferences.responses import NOTHING, NoVerdict
from rewards.preferences.rows import evenly, load_rows

PRESETS = {
    # chosen and rejected are messages; main_source is one of five datasets, such as Nectar
    "multifaceted": {"name": "kaist-ai/Multifaceted-Collection-DPO", "system": "system", "group": "main_source"},
    "rewardbench": {"name": "allenai/reward-bench", "split": "filtered", "group": "subset"},
    # chosen and rejected are lists: one and three texts, more of both in the subset Ties
    "rewardbench2": {"name": "allenai/reward-bench-2", "split": "test", "group": "subset"},
    # the other split is claude
    "judgebench": {
        "name": "ScalerLab/JudgeBench",
        "split": "gpt",
        "prompt": "question",
        "chosen": "response_A",
        "rejected": "response_B",
        "label": "label",
        "group": "source",
    },
}
METADATA = ("id", "prompt_id")


def load(
    name: str,
    split: str = "train",
    config: str | None = None,
    prompt: str | None = None,
    chosen: str | None = None,
    rejected: str | None = None,
    system: str | None = None,
    group: str | None = None,
    label: str | None = None,
    chat: bool = True,
    limit: int | None = None,
) -> Comparisons:
    """Comparisons from pairs: every response of a row against every one that its file calls worse.

    A response is text, or chat messages that end with the assistant's; the messages before it are kept as turns of
    the prompt. A list of either is several responses. Label: "source", the row's value of the `group` column, else
    "all". Notes count every row that is left out, with the reason, and name the columns that are not read.

    Args:
        name, split, config: as `load_rows` takes them.
        limit: only so many rows, evenly spaced.
        prompt, chosen, rejected: columns, where the file's are not those of a known layout.
        system: column with a system prompt, which replaces one in the messages; default one of SYSTEMS.
        group: column to report accuracy by.
        label: column that says which of two columns is the better one (`responses.named` says in which words), or
            within lists the field that scores.
        chat: prompts as chat messages, else as plain text.

    Raises:
        ValueError: a layout that is not known, columns that are not there (the message lists those found), cells that
            hold something else, or no comparison.
    """
    rows, notes = load_rows(name, split, config)
    layout = find_layout(rows, name, chosen, rejected, label)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    wanted = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "system": system, "group": group}
    _check_columns(columns, wanted | {"label": None if layout.within else label}, name)
    if chosen or rejected:
        _check_columns(columns, dict(zip(("chosen", "rejected"), layout.columns)), name)
    asks = prompt or next((column for column in layout.prompts if column in columns), None)
    guessed = prompt is None and layout.prompts == PROMPTS and asks not in SURE_PROMPTS
    system_column, system = system, system or next((column for column in SYSTEMS if column in columns), None)
    rows, limited = evenly(layout.prepare(rows), limit)

    groups: list[Group] = []
    built: list[tuple] = []
    left_out: Counter[str] = Counter()
    said: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for n, row in enumerate(rows):
        try:
            read = read_row(row, layout, asks, label or layout.label, guessed, chat)
        except NoVerdict as verdict:
            said[str(verdict)] += 1
            continue
        except LeftOut as reason:
            left_out[str(reason)] += 1
            continue
        source = str(row.get(group)) if group else "all"
        built += [(len(groups), i, j, source) for i, j in pairs_of(read.scores)]
        told = as_prompt(read.prompt, row.get(system) if system else None, chat)
        groups.append(Group(str(row.get("id", n)), told, list(read.responses)))
        seen.update(f"rows {what}" for what in read.seen)
        seen.update({f"{what} left out": count for what, count in read.lost.items() if count})
    if not built and asks is None and layout.prompts and set(left_out) == {NOTHING}:
        raise ValueError(
            f"{name} has no column that asks, and its responses bring no turns along, neither messages nor a text "
            f'"Human: ...\\n\\nAssistant: ...": looked for {", ".join(layout.prompts)}; columns found: '
            f"{', '.join(columns)}. Name it by --prompt_column"
        )
    notes += limited + _layout_notes(layout, columns, asks, system, [prompt, system_column, group, label], rows)
    notes += [f"{count} {what}" for what, count in seen.items()]
    notes += [f"{count} rows left out: {reason}" for reason, count in left_out.items()]
    if said:
        words = ", ".join(repr(word) for word, _ in said.most_common(5))
        notes.append(
            f"{said.total()} rows left out: no verdict in column {label or layout.label!r}, which says {words}"
        )
    return Comparisons.build(groups, built, ("source",), notes)


def summary(comparisons: Comparisons, outcome: np.ndarray, draws: int = 10_000, seed: int = 0) -> dict:
    """Accuracy of one judge, over all comparisons and per source.

    Args:
        outcome: (n,) as `outcomes` makes it.
        draws, seed: of the bootstrap.

    Returns:
        "scores": "accuracy" (all comparisons) and with several sources "macro_average" (their mean) and
        "accuracy[SOURCE]", each {"value", "low", "high"} in 0..1, None where nothing was scored. Where a row has more
        than one comparison also "all_beaten", "macro_all_beaten" and "all_beaten[SOURCE]": the share of rows in which
        every chosen response beat every rejected one (best of n as in RewardBench 2, but a tie is lost). "counts",
        "counts_by_source", "rows_by_source" (the same of rows), "notes".
    """
    layout, by_row, rows = _layouts(comparisons)
    scores = statistics.estimates(layout, outcome, draws, seed)
    result = {
        "scores": scores,
        "counts": statistics.count(outcome),
        "counts_by_source": statistics.count_by(outcome, comparisons.labels["source"]),
        "notes": comparisons.notes,
    }
    if by_row:
        beaten = all_beaten(comparisons, outcome)
        scores |= statistics.estimates(by_row, beaten, draws, seed)
        result["rows_by_source"] = statistics.count_by(beaten, rows)
    return result


def differences(
    comparisons: Comparisons, first: np.ndarray, second: np.ndarray, draws: int = 10_000, seed: int = 0
) -> dict[str, dict]:
    """The first judge's scores minus the second's with paired intervals, on what both have scored."""
    layout, by_row, _ = _layouts(comparisons)
    result = statistics.differences(layout, first, second, draws, seed)
    if by_row:
        ours, theirs = (all_beaten(comparisons, outcome) for outcome in (first, second))
        result |= statistics.differences(by_row, ours, theirs, draws, seed)
    return result


def headline(
    views: Mapping[str, Comparisons], outcomes: Mapping[str, np.ndarray], draws: int = 10_000, seed: int = 0
) -> dict[str, float | None]:
    """The accuracy over all comparisons with its interval.

    Args:
        views, outcomes: view -> its comparisons, and one judge's outcomes on them; here there is one view.
    """
    ((view, comparisons),) = views.items()
    layout = _layouts(comparisons)[0]
    return statistics.figure(layout, [outcomes[view]], lambda scores: scores[0]["accuracy"], draws, seed)


def all_beaten(comparisons: Comparisons, outcome: np.ndarray) -> np.ndarray:
    """Outcome of each group, (groups,) float64: that of its worst comparison, NaN where one was not scored."""
    worst = np.full(len(comparisons.groups), np.inf)
    np.minimum.at(worst, comparisons.group, np.nan_to_num(outcome, nan=-np.inf))  # one without a score decides
    return np.where(np.isinf(worst), np.nan, worst)


def _layouts(comparisons: Comparisons) -> tuple[statistics.Layout, statistics.Layout | None, np.ndarray]:
    """For comparisons and, where some row has several, for rows; and the source of each row."""
    source, group = comparisons.labels["source"], comparisons.group
    names = list(dict.fromkeys(source.tolist()))
    cell = np.array([names.index(name) for name in source.tolist()])
    row_cell = np.zeros(len(comparisons.groups), dtype=int)
    row_cell[group] = cell
    pairs = statistics.Layout(comparisons.units[group], cell, len(names), _scores(names, "accuracy", "macro_average"))
    if len(group) == len(comparisons.groups):
        return pairs, None, np.array(names)[row_cell]
    scores = _scores(names, "all_beaten", "macro_all_beaten")
    rows = statistics.Layout(comparisons.units, row_cell, len(names), scores)
    return pairs, rows, np.array(names)[row_cell]


def _scores(names: list[str], overall: str, macro: str):
    def scores(wins: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
        accuracy = statistics.share(wins, scored)
        result = {overall: statistics.share(wins.sum(axis=1), scored.sum(axis=1))}
        if len(names) > 1:
            result |= {macro: accuracy.mean(axis=1)}
            result |= {f"{overall}[{name}]": accuracy[:, k] for k, name in enumerate(names)}
        return result

    return scores


def _check_columns(columns: list[str], wanted: dict[str, str | None], name: str) -> None:
    for flag, column in wanted.items():
        if column and column not in columns:
            raise ValueError(
                f"{name} has no column {column!r}; columns found: {', '.join(columns)}. Name another one by "
                f"--{flag}_column"
            )


def _layout_notes(
    layout: Layout, columns: list[str], asks: str | None, system: str | None, named: list[str | None], rows: list[dict]
) -> list[str]:
    """How the columns were read where the user did not say it, which were not read, and what scores say of sides."""
    notes = []
    if layout is not LAYOUTS[0] and layout.name != NAMED:
        by = f", the better one by {layout.label!r}" if layout.label and layout.label not in named else ""
        notes.append(f"read as {layout.name}: prompts from {asks or layout.columns[0]!r}{by}")
    elif asks not in (None, "prompt", *named):
        notes.append(f"prompts from column {asks!r}")
    if system and system not in named:
        notes.append(f"system prompts from column {system!r}")
    used = {asks, system, *named, *layout.columns, layout.label, *METADATA}
    if asks == "instruction":
        used |= {"input", "history"}
    scores = [pair for pair in SIDE_SCORES if set(pair) <= set(columns)] if layout in LAYOUTS[:2] else []
    for better, worse in scores:
        odd = sum(
            isinstance(row.get(better), (int, float))
            and isinstance(row.get(worse), (int, float))
            and row[better] <= row[worse]
            for row in rows
        )
        if odd:
            notes.append(f"{odd} rows have a {better!r} that is not above {worse!r}; kept as the file pairs them")
        used |= {better, worse}
    unread = [column for column in columns if column not in used]
    return [*notes, f"columns not read: {', '.join(unread)}"] if unread else notes
