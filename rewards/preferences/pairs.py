"""Any preference pairs: a prompt, and responses of which some are better than others.

Files are read as they are, by the layouts of `layouts.LAYOUTS`. PRESETS hold the arguments of `load` for known
datasets, with the column to report by: `load(**PRESETS["rewardbench2"])`. They follow the datasets' cards and
published code; none has been loaded from the hub here. Only accuracy is computed: RewardBench also weighs its subsets
into sections; RewardBench 2 gives part of a point where the chosen response shares the top score, and has a score of
its own for its subset "Ties".
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

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
from rewards.preferences.messages import CONTRADICTS, LeftOut
from rewards.preferences.pair_rows import GAVE_WAY, pairs_of, read_row
from rewards.preferences.responses import NOTHING, NoVerdict
from rewards.preferences.rows import load_rows
from rewards.reading.table import Table

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
        prompt, chosen, rejected: columns, where the file's are not those of a known layout. `prompt` is "" where no
            column asks and the responses bring their turns along.
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
    given = [column for column in (prompt, system, group, label) if column]
    if prompt is None:
        prompt = next((column for column in layout.prompts if column in columns), None)
    guessed = bool(prompt) and prompt not in given and layout.prompts == PROMPTS and prompt not in SURE_PROMPTS
    system = system or next((column for column in SYSTEMS if column in columns), None)
    table = Table(name, layout.prepare(rows), notes).limited(limit)
    rows, notes = table.rows(), table.notes
    file = _File(layout, prompt or None, system, group, label or layout.label, guessed, chat)
    for n, row in enumerate(rows):
        file.add(row, n)
    if not file.built and not prompt and layout.prompts and set(file.left_out) == {NOTHING}:
        raise ValueError(
            f"{name} has no column that asks, and its responses bring no turns along, neither messages nor a text "
            f'"Human: ...\\n\\nAssistant: ...": looked for {", ".join(layout.prompts)}; columns found: '
            f"{', '.join(columns)}. Name it by --prompt_column"
        )
    notes += _layout_notes(file, columns, given, rows) + file.notes()
    if not file.built and CONTRADICTS in file.left_out:
        notes.append("name the column that asks by --prompt_column, with '' for none but the turns of the responses")
    return Comparisons.build(file.groups, file.built, ("source",), notes)


@dataclass
class _File:
    """What is made of a file's rows: comparisons of groups, and counts of what is left out or odd."""

    layout: Layout
    prompt: str | None
    system: str | None
    group: str | None
    label: str | None
    guessed: bool
    chat: bool
    groups: list[Group] = field(default_factory=list)
    built: list[tuple] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict, n: int) -> None:
        """The n-th row.

        Raises:
            ValueError: a cell that is neither text nor messages.
        """
        try:
            read = read_row(row, self.layout, self.prompt, self.label, self.guessed, self.chat)
        except NoVerdict as verdict:
            self.said[str(verdict)] += 1
            return
        except LeftOut as reason:
            self.left_out[str(reason)] += 1
            return
        system = row.get(self.system) if self.system else None
        if not isinstance(system, str | None):
            raise ValueError(
                f"column {self.system!r} must hold text; found {str(system)[:200]}. Name another by --system_column"
            )
        source = str(row.get(self.group)) if self.group else "all"
        self.built += [(len(self.groups), i, j, source) for i, j in pairs_of(read.scores)]
        asked = as_prompt(read.prompt, system, self.chat)
        self.groups.append(Group(str(row.get("id", n)), asked, list(read.responses)))
        self.seen.update(f"rows {what}" for what in read.seen)
        self.seen.update({f"{what} left out": count for what, count in read.lost.items() if count})
        if system and any(m["role"] == "system" and m not in asked for m in read.prompt if isinstance(m, dict)):
            self.seen[f"rows have another system message, which that of column {self.system!r} replaces"] += 1

    def notes(self) -> list[str]:
        """Everything counted."""
        notes = [f"{count} {what}" for what, count in self.seen.items()]
        notes += [f"{count} rows left out: {reason}" for reason, count in self.left_out.items()]
        if self.said:
            words = ", ".join(repr(word) for word, _ in self.said.most_common(5))
            notes.append(f"{self.said.total()} rows left out: no verdict in column {self.label!r}, which says {words}")
        return notes


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
    views: Mapping[str, Comparisons],
    outcomes: Mapping[str, np.ndarray],
    draws: int = 10_000,
    seed: int = 0,
    minus: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float | None]:
    """The accuracy over all comparisons with its interval.

    Args:
        views, outcomes: view -> its comparisons, and one judge's outcomes on them; here there is one view.
        minus: another judge's outcomes, whose accuracy is subtracted, paired.
    """
    ((view, comparisons),) = views.items()
    layout, subtracted = _layouts(comparisons)[0], None if minus is None else [minus[view]]
    return statistics.figure(
        layout, [outcomes[view]], lambda scores: scores[0]["accuracy"], draws, seed, minus=subtracted
    )


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


def _layout_notes(file: _File, columns: list[str], given: list[str], rows: list[dict]) -> list[str]:
    """How columns were read that nobody had named, which were not read, and what scores say of the sides."""
    layout, notes = file.layout, []
    prompt = None if file.seen[f"rows {GAVE_WAY}"] == len(file.groups) > 0 else file.prompt
    if layout is not LAYOUTS[0] and layout.name != NAMED:
        by = f", the better one by {layout.label!r}" if layout.label and file.label == layout.label else ""
        notes.append(f"read as {layout.name}: prompts from {prompt or layout.columns[0]!r}{by}")
    elif prompt not in (None, "prompt", *given):
        notes.append(f"prompts from column {prompt!r}")
    if file.system and file.system not in given:
        notes.append(f"system prompts from column {file.system!r}")
    used = {prompt, file.system, file.label, *given, *layout.columns, *layout.optional, *METADATA}
    if prompt == "instruction":
        used |= {"input", "history"}
    scores = [pair for pair in SIDE_SCORES if set(pair) <= set(columns)] if layout in LAYOUTS[:2] else []
    for better, worse in scores:
        numbers = [(row.get(better), row.get(worse)) for row in rows]
        odd = sum(isinstance(a, (int, float)) and isinstance(b, (int, float)) and a <= b for a, b in numbers)
        if odd:
            notes.append(f"{odd} rows have a {better!r} that is not above {worse!r}; kept as the file pairs them")
        used |= {better, worse}
    tools = sum(isinstance(cell := row.get(prompt or ""), dict) and bool(cell.get("tools")) for row in rows)
    if tools:
        notes.append(f"{tools} rows have tools, which are not shown")
    unread = [column for column in columns if column not in used]
    return [*notes, f"columns not read: {', '.join(unread)}"] if unread else notes
