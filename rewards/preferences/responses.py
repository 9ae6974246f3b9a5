"""Ways in which a row of a preference file holds responses and says which of them are better than others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rewards.preferences.messages import LeftOut, decoded, is_conversation, message

NOTHING = "no prompt or response"
MERGED = "rows of the prompt"
TEXTS = ("response", "answer", "text", "completion", "output", "content")  # of an object
SCORES = ("overall_score", "fine-grained_score", "score", "rating", "reward", "helpfulness")
RANKS = ("rank", "ranks", "ranking")
FIRST = {"a>b", "a>>b", "a", "model_a", "response_a", "assistant_a", "first", "left"}
SECOND = {"b>a", "b>>a", "b", "model_b", "response_b", "assistant_b", "second", "right"}
TIES = {"a=b", "b=a", "tie", "tie (bothbad)", "both_bad", "bothbad", "both", "neither", "same", "draw", "equal"}


class Judged(NamedTuple):
    """Responses of one row as the file holds them, each with a score: the higher one is better. `ranked`: equal
    scores are ties, not one side of several. `unscored`: how many more there are without a score. `by`: the field or
    column of the scores, where it was found among several."""

    responses: list[Any]
    scores: list[float]
    ranked: bool = True
    unscored: int = 0
    by: str | None = None


class NoVerdict(LeftOut):
    """A row whose label says neither which response is better nor that they tie; its text is the label."""


Read = Callable[[dict, str | None], Judged]
Verdict = Callable[[dict, str | None], float]


def sides(chosen: str, rejected: str) -> Read:
    """A better and a worse side, each one response or a list of them."""

    def read(row: dict, label: str | None) -> Judged:
        better, worse = several(row.get(chosen)), several(row.get(rejected))
        if not (better and worse):
            raise LeftOut(NOTHING)
        return Judged([*better, *worse], [1.0] * len(better) + [0.0] * len(worse), ranked=False)

    return read


def several(cell: Any) -> list:
    """The responses in a cell: a list of texts or of conversations is several, anything else is one."""
    cell = decoded_conversation(cell)
    if isinstance(cell, list) and not is_conversation(cell):
        return [decoded_conversation(item) for item in cell if item is not None]
    return [] if cell is None else [cell]


def decoded_conversation(cell: Any) -> Any:
    """The messages that a JSON text holds; any other cell as it is."""
    value = decoded(cell)
    return value if is_conversation(value) else cell


def two(first: str, second: str, verdict: Verdict) -> Read:
    """Two responses in two columns, and what says which is better."""

    def read(row: dict, label: str | None) -> Judged:
        cells = [decoded_conversation(row.get(column)) for column in (first, second)]
        if None in cells:
            raise LeftOut(NOTHING)
        return Judged(cells, [verdict(row, label), 0.0])

    return read


def named(first: str, second: str) -> Verdict:
    """A label that names the better of two columns: by a word such as "model_a", "A>B" or "tie", by a column's own
    name, or by what sets the two names apart, such as 0 and 1 of response_0 and response_1."""
    start = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
    names = dict.fromkeys(FIRST, 1.0) | dict.fromkeys(SECOND, -1.0) | dict.fromkeys(TIES, 0.0)
    names |= {first.lower(): 1.0, second.lower(): -1.0}
    if first[start:] and second[start:]:
        names |= {first[start:].lower(): 1.0, second[start:].lower(): -1.0}
    return one_of(names)


def one_of(values: dict[str, float]) -> Verdict:
    """A label of which the table says what it means: 1 first, -1 second."""

    def verdict(row: dict, label: str | None) -> float:
        said = _word(row.get(label or ""))
        if said not in values:
            raise NoVerdict(said)
        return values[said]

    return verdict


def strength(row: dict, label: str | None) -> float:
    """A number below zero where the first is better, above zero where the second is."""
    value = number_of(row.get(label or ""))
    if value is None:
        raise NoVerdict(_word(row.get(label or "")))
    return -value


def higher(first: str, second: str) -> Verdict:
    """Two columns of scores."""

    def verdict(row: dict, label: str | None) -> float:
        scores = [number_of(row.get(column)) for column in (first, second)]
        if scores[0] is None or scores[1] is None:
            raise NoVerdict(", ".join(_word(row.get(column)) for column in (first, second)))
        return scores[0] - scores[1]

    return verdict


def ticked(first: str, second: str, tie: str) -> Verdict:
    """Three columns of which one is 1."""

    def verdict(row: dict, label: str | None) -> float:
        marks = [number_of(row.get(column)) == 1 for column in (first, second, tie)]
        if sum(marks) != 1:
            raise NoVerdict(", ".join(_word(row.get(column)) for column in (first, second, tie)))
        return float(marks[0]) - float(marks[1])

    return verdict


def listed(column: str) -> Read:
    """A list of objects, each a response (the first of TEXTS that it has) with a score or rank.

    What scores is the first of SCORES and RANKS that any of them has, or the field that the label names.
    """

    def read(row: dict, label: str | None) -> Judged:
        items = items_of(row.get(column))
        there = {field: None for item in items for field in item}
        if label and items and label not in there:
            raise ValueError(f"no {label!r} in {column!r}; name one of {', '.join(there)} by --label_column")
        scored_by = label or next((field for field in (*SCORES, *RANKS) if field in there), "")
        texts = [next((item[field] for field in TEXTS if item.get(field) is not None), None) for item in items]
        return _scored(texts, [item.get(scored_by) for item in items], scored_by)

    return read


def has_listed(column: str) -> Callable[[dict], bool]:
    """Whether a cell of a row is what `listed` reads."""
    return lambda row: any(set(item) & set(TEXTS) for item in items_of(row.get(column)))


def items_of(cell: Any) -> list[dict]:
    """The objects in a cell, a list of them or, as `datasets` gives a Sequence of features, an object of lists."""
    cell = decoded(cell)
    if isinstance(cell, dict) and all(isinstance(values, list) for values in cell.values()):
        cell = [dict(zip(cell, values)) for values in zip(*cell.values())]
    return [item for item in cell if isinstance(item, dict)] if isinstance(cell, list) else []


def parallel(responses: str, scores: str) -> Read:
    """A list of responses, and one of their scores or ranks."""

    def read(row: dict, label: str | None) -> Judged:
        texts, values = decoded(row.get(responses)) or [], decoded(row.get(label or scores)) or []
        if len(texts) != len(values):
            raise LeftOut(f"not one of {label or scores} for each of {responses}")
        return _scored(texts, values, label or scores)

    return read


def _scored(texts: list, values: list, scored_by: str) -> Judged:
    """Responses with what a column or field says of them: scores, or ranks, of which the lowest is the best."""
    sign = -1.0 if scored_by.lower() in RANKS else 1.0
    numbers = [(text, number_of(value)) for text, value in zip(texts, values)]
    kept = [(text, sign * number) for text, number in numbers if text is not None and number is not None]
    if len(kept) < 2:
        raise LeftOut("fewer than two responses with a score, whose field --label_column names")
    return Judged([t for t, _ in kept], [s for _, s in kept], unscored=len(texts) - len(kept), by=scored_by)


def summaries(row: dict, label: str | None) -> Judged:
    texts = [item.get("text") for item in items_of(row.get("summaries"))]
    choice = number_of(row.get("choice"))
    if choice not in range(len(texts)):
        raise NoVerdict(_word(row.get("choice")))
    return Judged(texts, [float(i == choice) for i in range(len(texts))], ranked=False)


def turns_as_texts(row: dict, label: str | None) -> Judged:
    """Turns of the user as one list, and those of either model as another, all JSON texts."""
    asked = several(decoded(row.get("prompt")))
    both = []
    for column in ("response_a", "response_b"):
        said = several(decoded(row.get(column)))
        if not asked or len(said) != len(asked):
            raise LeftOut(NOTHING)
        turns = [(("user", q), ("assistant", a)) for q, a in zip(asked, said)]
        both.append([{"role": role, "content": text} for turn in turns for role, text in turn])
    return Judged(both, [ticked("winner_model_a", "winner_model_b", "winner_tie")(row, label), 0.0])


def arena(row: dict, label: str | None) -> Judged:
    """Two conversations, of which the verdict is on the turn that `turn` counts, where there is such a column."""
    judged = two("conversation_a", "conversation_b", named("conversation_a", "conversation_b"))(row, label)
    turn = number_of(row.get("turn"))
    return judged if not turn else judged._replace(responses=[_until(cell, int(turn)) for cell in judged.responses])


def _until(cell: Any, turn: int) -> Any:
    """A conversation without what follows the user's n-th message and the answer to it."""
    if not is_conversation(cell):
        return cell
    asked = [i for i, m in enumerate(cell) if message(m, "conversation")["role"] == "user"]
    return cell[: asked[turn]] if turn < len(asked) else cell


def by_prompt(rows: list[dict]) -> list[dict]:
    """One row a prompt, with the rows that have it in `MERGED`."""
    merged: dict[str, dict] = {}
    for row in rows:
        merged.setdefault(str(row.get("prompt")), row | {MERGED: []})[MERGED].append(row)
    return list(merged.values())


def best_first(row: dict, label: str | None) -> Judged:
    texts = row["output"]
    if len(texts) != 2:
        raise LeftOut(NOTHING)
    return Judged(texts, [1.0, 0.0])


def _word(value: Any) -> str:
    number = None if isinstance(value, bool) else number_of(value)
    return str(int(number)) if number is not None and number.is_integer() else str(value).strip().lower()


def number_of(value: Any) -> float | None:
    """The number that a cell holds or writes; None for anything else and for NaN."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, (int, float)) and value == value else None
