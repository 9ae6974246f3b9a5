"""Any preference pairs: a prompt, what was chosen, and one or several responses that were rejected.

PRESETS hold the arguments of `load` for known datasets: `load(**PRESETS["rewardbench2"])`. They follow the datasets'
cards and published code; none has been loaded from the hub here. Only accuracy is computed: RewardBench also weighs
its subsets into sections; RewardBench 2 gives part of a point where the chosen response shares the top score, and has
a score of its own for its subset "Ties".
"""

import numpy as np

from rewards.preferences import bootstrap as statistics
from rewards.preferences.comparisons import Comparisons, Group, Prompt, as_prompt
from rewards.preferences.rows import check_columns, load_rows

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
COLUMNS = None  # all scores: which there are depends on the file
_PROMPT = "prompt"


def load(
    name: str,
    split: str = "train",
    config: str | None = None,
    prompt: str = _PROMPT,
    chosen: str = "chosen",
    rejected: str = "rejected",
    system: str | None = None,
    group: str | None = None,
    label: str | None = None,
    chat: bool = True,
    limit: int | None = None,
) -> Comparisons:
    """Comparisons from pairs: every chosen response of a row against every rejected one.

    A response is text or chat messages that end with the assistant's, which is then the response; the messages before
    it are the prompt where the file has no prompt column. A list of either is several responses. Label: "source", the
    row's value of the `group` column, else "all". Rows without a prompt or a response on either side, or whose two
    sides continue different conversations, are left out and counted.

    Args:
        name, split, config, limit: as `load_rows` takes them.
        prompt, chosen, rejected: columns. `prompt` holds text or chat messages.
        system: column with a system prompt, which replaces one in the messages.
        group: column to report accuracy by.
        label: column with "A>B" or "B>A": which of the columns `chosen` (A) and `rejected` (B) is the better one.
            Rows with anything else are left out and counted.
        chat: prompts as chat messages, else as plain text.

    Raises:
        ValueError: columns that are not there (the message lists those found) or hold something else.
    """
    rows, notes = load_rows(name, split, config, limit)
    own_prompt = any(prompt in row for row in rows)
    wanted = [chosen, rejected, *(column for column in (system, group, label) if column)]
    # without the default prompt column the messages must hold the prompt; a name that the user chose must be there
    in_messages = all(isinstance(row.get(chosen), list) for row in rows) and prompt == _PROMPT
    check_columns(rows, wanted if own_prompt or in_messages else [prompt, *wanted], name)

    groups: list[Group] = []
    built: list[tuple] = []
    left_out = dict.fromkeys(("no prompt or response", "no verdict", "two conversations"), 0)
    for n, row in enumerate(rows):
        better, worse = chosen, rejected
        if label and row.get(label) not in ("A>B", "B>A"):
            left_out["no verdict"] += 1
            continue
        if label and row[label] == "B>A":
            better, worse = rejected, chosen
        sides = [_responses(row.get(column), column) for column in (better, worse)]
        text = row.get(prompt) if own_prompt else next((before for side in sides for before, _ in side), None)
        if not (text and all(sides)):
            left_out["no prompt or response"] += 1
        elif not own_prompt and any(before != text for side in sides for before, _ in side):
            left_out["two conversations"] += 1
        else:
            first = len(sides[0])
            source = str(row.get(group)) if group else "all"
            built += [(len(groups), i, first + j, source) for i in range(first) for j in range(len(sides[1]))]
            asked = as_prompt(_checked(text, prompt), row.get(system) if system else None, chat)
            groups.append(Group(str(row.get("id", n)), asked, [response for side in sides for _, response in side]))
    notes += [f"{count} rows left out: {reason}" for reason, count in left_out.items() if count]
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


def _responses(value, column: str) -> list[tuple[Prompt | None, str]]:
    """(messages before it, text) of each response in a cell."""
    if value is None:
        return []
    if isinstance(value, str):
        return [(None, value)]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        _checked(value, column)
        *before, last = value
        if last["role"] != "assistant":
            raise ValueError(f"column {column!r}: messages must end with the assistant's; found {str(last)[:200]}")
        return [(before, last["content"])]
    if isinstance(value, list):
        return [response for item in value for response in _responses(item, column)]
    raise ValueError(f"column {column!r} must hold text, chat messages or lists of them; found {str(value)[:200]}")


def _checked(value: Prompt, column: str) -> Prompt:
    good = isinstance(value, str) or (
        isinstance(value, list)
        and all(isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m for m in value)
    )
    if not good:
        raise ValueError(
            f"column {column!r} must hold text or messages with 'role' and text 'content'; found {str(value)[:200]}"
        )
    return value
