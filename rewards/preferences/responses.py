"""Ways in which a row of a preference file holds responses and says which of them are better than others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rewards.preferences.messages import LeftOut, decoded, is_conversation

NOTHING = "no prompt or response"
MERGED = "rows of the prompt"
FIRST = {"a>b", "a>>b", "a", "model_a", "response_a", "assistant_a", "first", "left"}
SECOND = {"b>a", "b>>a", "b", "model_b", "response_b", "assistant_b", "second", "right"}
TIES = {"a=b", "b=a", "tie", "tie (bothbad)", "both_bad", "bothbad", "both", "neither", "same", "draw", "equal"}


class Judged(NamedTuple):
    """Responses of one row as the file holds them, each with a score: the higher one is better. `ranked`: equal
    scores are ties, not one side of several. `unscored`: how many more there are without a score."""

    responses: list[Any]
    scores: list[float]
    ranked: bool = True
    unscored: int = 0


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

    def verdict(row: dict, label: str | None) -> float:
        said = _word(row.get(label or ""))
        if said not in names:
            raise NoVerdict(said)
        return names[said]

    return verdict


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
    value = _number(row.get(label or ""))
    if value is None:
        raise NoVerdict(_word(row.get(label or "")))
    return -value


def higher(first: str, second: str) -> Verdict:
    """Two columns of scores."""

    def verdict(row: dict, label: str | None) -> float:
        scores = [_number(row.get(column)) for column in (first, second)]
        if scores[0] is None or scores[1] is None:
            raise NoVerdict(", ".join(_word(row.get(column)) for column in (first, second)))
        return scores[0] - scores[1]

    return verdict


def ticked(first: str, second: str, tie: str) -> Verdict:
    """Three columns of which one is 1."""

    def verdict(row: dict, label: str | None) -> float:
        marks = [_number(row.get(column)) == 1 for column in (first, second, tie)]
        if sum(marks) != 1:
            raise NoVerdict(", ".join(_word(row.get(column)) for column in (first, second, tie)))
        return float(marks[0]) - float(marks[1])

    return verdict


def listed(column: str, text: str, scores: Sequence[str], sign: float = 1.0) -> Read:
    """A list of objects, each a response with a score.

    Args:
        text: field with the response.
        scores: fields of which the first that is there scores.
        sign: -1 where a small number is good, as of ranks.
    """

    def read(row: dict, label: str | None) -> Judged:
        items = items_of(row.get(column))
        field = label or next((s for s in scores if any(s in item for item in items)), scores[0])
        if label and items and not any(label in item for item in items):
            raise ValueError(f"no {label!r} in {column!r}; name one of {', '.join(items[0])} by --label_column")
        return _scored([(item.get(text), _number(item.get(field)), sign) for item in items])

    return read


def items_of(cell: Any) -> list[dict]:
    """The objects in a cell, a list of them or, as `datasets` gives a Sequence of features, an object of lists."""
    cell = decoded(cell)
    if isinstance(cell, dict):
        cell = [dict(zip(cell, values)) for values in zip(*cell.values())]
    return [item for item in cell if isinstance(item, dict)] if isinstance(cell, list) else []


def parallel(responses: str, scores: str) -> Read:
    """A list of responses, and one of their scores."""

    def read(row: dict, label: str | None) -> Judged:
        texts, values = decoded(row.get(responses)) or [], decoded(row.get(label or scores)) or []
        if len(texts) != len(values):
            raise LeftOut(f"not one of {scores} for each of {responses}")
        return _scored([(text, _number(value), 1.0) for text, value in zip(texts, values)])

    return read


def _scored(items: list[tuple[Any, float | None, float]]) -> Judged:
    kept = [(text, sign * score) for text, score, sign in items if text is not None and score is not None]
    if len(kept) < 2:
        raise LeftOut("fewer than two responses with a score, whose field --label_column names")
    return Judged([text for text, _ in kept], [score for _, score in kept], unscored=len(items) - len(kept))


def summaries(row: dict, label: str | None) -> Judged:
    texts = [item.get("text") for item in items_of(row.get("summaries"))]
    choice = _number(row.get("choice"))
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
    number = None if isinstance(value, bool) else _number(value)
    return str(int(number)) if number is not None and number.is_integer() else str(value).strip().lower()


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, (int, float)) and value == value else None
