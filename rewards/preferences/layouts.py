"""The layouts of preference files, declared: which column asks, which hold responses, what says which one is better.

`LAYOUTS` is the table, and its order is that in which a file's columns are compared with it. The layouts follow the
datasets' cards; what is not in the table is read by naming its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rewards.preferences.messages import LeftOut, conversation, decoded, is_conversation

# the first that is there asks, unless a layout names its own
PROMPTS: tuple[str, ...] = ("prompt", "question", "query", "instruction", "problem", "history", "context")
PROMPTS += ("conversations", "conversation", "trajectory", "messages", "input")
SYSTEMS = ("system", "system_prompt")
_MERGED, NAMED = "rows of the prompt", "the columns named"
SURE_PROMPTS = ("prompt", "conversations")  # the others give way to the turns that responses bring along
NOTHING, TIE = "no prompt or response", "ties"
FIRST = {"a>b", "a>>b", "a", "model_a", "response_a", "assistant_a", "first", "left"}
SECOND = {"b>a", "b>>a", "b", "model_b", "response_b", "assistant_b", "second", "right"}
TIES = {"a=b", "b=a", "tie", "tie (bothbad)", "both_bad", "bothbad", "both", "neither", "same", "draw", "equal"}
# what some files say of the two sides beside them
SIDE_SCORES = [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score")]
SIDE_SCORES += [(a.format("chosen"), a.format("rejected")) for a in ("{}-rating", "{}_rating", "rating_{}")]


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


@dataclass(frozen=True)
class Layout:
    """One kind of preference file.

    Attributes:
        name: of a collection that has it.
        columns: which all must be there.
        read: the responses of a row and their scores, given the column (or within lists the field) that judges.
        label: that column, where there is one.
        within: what judges is a field within lists.
        prompts: columns of which the first that is there asks; none where the responses bring the prompt along.
        fits: a condition on a row, beside its columns.
        prepare: makes rows with several responses out of a file's rows.
    """

    name: str
    columns: tuple[str, ...]
    read: Read
    label: str | None = None
    within: bool = False
    prompts: tuple[str, ...] = PROMPTS
    fits: Callable[[dict], bool] = lambda row: True
    prepare: Callable[[list[dict]], list[dict]] = lambda rows: rows


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
        items = [item for item in decoded(row.get(column)) or [] if isinstance(item, dict)]
        field = label or next((s for s in scores if any(s in item for item in items)), scores[0])
        if label and items and not any(label in item for item in items):
            raise ValueError(f"no {label!r} in {column!r}; name one of {', '.join(items[0])} by --label_column")
        return _scored([(item.get(text), _number(item.get(field)), sign) for item in items])

    return read


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
        raise LeftOut("fewer than two responses with a score")
    return Judged([text for text, _ in kept], [score for _, score in kept], unscored=len(items) - len(kept))


def _summaries(row: dict, label: str | None) -> Judged:
    texts = [item.get("text") for item in row.get("summaries") or []]
    choice = _number(row.get("choice"))
    if choice not in range(len(texts)):
        raise NoVerdict(_word(row.get("choice")))
    return Judged(texts, [float(i == choice) for i in range(len(texts))], ranked=False)


def _turns(row: dict, label: str | None) -> Judged:
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


def _by_prompt(rows: list[dict]) -> list[dict]:
    """One row a prompt, with the rows that have it in `_MERGED`."""
    merged: dict[str, dict] = {}
    for row in rows:
        merged.setdefault(str(row.get("prompt")), row | {_MERGED: []})[_MERGED].append(row)
    return list(merged.values())


def _best_first(row: dict, label: str | None) -> Judged:
    texts = row["output"]
    if len(texts) != 2:
        raise LeftOut(NOTHING)
    return Judged(texts, [1.0, 0.0])


def _two(name: str, first: str, second: str, label: str, prompts: tuple[str, ...], verdict: Verdict | None = None):
    read = two(first, second, verdict or named(first, second))
    return Layout(name, (*prompts, first, second, label), read, label, prompts=prompts)


def _sides(name: str, chosen: str, rejected: str, prompts: tuple[str, ...] = PROMPTS) -> Layout:
    return Layout(name, (chosen, rejected), sides(chosen, rejected), prompts=prompts)


_SHP = one_of({"1": 1.0, "0": -1.0})
_WEBGPT = two("answer_0", "answer_1", higher("score_0", "score_1"))
_FEEDBACK = ("overall_score", "fine-grained_score")
_ARENA_55K = ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie")
_SIDES = (
    # hh-rlhf, UltraFeedback binarized, RewardBench, RM-Bench, Skywork, TRL, LLaMA-Factory (alpaca and sharegpt)
    _sides("chosen and rejected", "chosen", "rejected"),
    _sides("chosen_response and rejected_response", "chosen_response", "rejected_response"),
    _sides("chosen and reject", "chosen", "reject"),
    _sides("StackExchange paired", "response_j", "response_k"),
    _sides("OpenAI", "preferred_output", "non_preferred_output"),
    _sides("ms-swift", "messages", "rejected_response", ()),
    _sides("ms-swift", "messages", "rejected_messages", ()),
)
LAYOUTS = (
    *_SIDES,
    _two("SHP", "human_ref_A", "human_ref_B", "labels", ("history",), _SHP),
    _two("SafeRLHF", "response_0", "response_1", "better_response_id", ("prompt",)),  # or safer_response_id
    _two("Chatbot Arena", "conversation_a", "conversation_b", "winner", ()),
    Layout("Chatbot Arena (55k)", _ARENA_55K, _turns, prompts=()),
    _two("WSDM Cup", "response_a", "response_b", "winner", ("prompt",)),
    _two("JudgeBench", "response_A", "response_B", "label", ("question",)),
    _two("HelpSteer2", "response_1", "response_2", "preference_strength", ("prompt",), strength),
    _two("HelpSteer3", "response1", "response2", "overall_preference", ("context",), strength),
    _two("AlpacaFarm", "output_1", "output_2", "preference", ("instruction",)),
    Layout("WebGPT", ("answer_0", "answer_1", "score_0", "score_1"), _WEBGPT, prompts=("question",)),
    Layout("summarize_from_feedback", ("info", "summaries", "choice"), _summaries, prompts=("info",)),
    Layout("UltraFeedback", ("completions",), listed("completions", "response", _FEEDBACK), within=True),
    Layout("Nectar", ("answers",), listed("answers", "answer", ("rank",), -1.0), within=True),
    Layout("responses and scores", ("responses", "scores"), parallel("responses", "scores"), "scores"),
    Layout(
        "HelpSteer",
        ("prompt", "response", "helpfulness"),
        listed(_MERGED, "response", ("helpfulness",)),
        within=True,
        prompts=("prompt",),
        prepare=_by_prompt,
    ),
    Layout(
        "LLaMA-Factory, both in output",
        ("instruction", "output"),
        _best_first,
        fits=lambda row: isinstance(row.get("output"), list),
    ),
)


def find_layout(
    rows: list[dict], name: str, chosen: str | None = None, rejected: str | None = None, label: str | None = None
) -> Layout:
    """The layout of a file: that of the columns named, else the first of LAYOUTS whose columns are there.

    Raises:
        ValueError: there is none. The message says which columns are there and how to name them.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if chosen or rejected:
        pair = (chosen or "chosen", rejected or "rejected")
        return Layout(NAMED, pair, two(*pair, named(*pair)) if label else sides(*pair), label)
    found = next((x for x in LAYOUTS if set(x.columns) <= set(columns) and any(map(x.fits, rows))), None)
    if found is not None and label and found in _SIDES:
        first, second = found.columns
        return Layout(NAMED, found.columns, two(first, second, named(first, second)), label)
    if found is not None and label and not (found.within or found.label):
        raise ValueError(
            f"{name} is read as {found.name}, which judges by {', '.join(found.columns)}. Leave --label_column out, "
            "or name --chosen_column and --rejected_column too"
        )
    if found is not None:
        return found
    absent = ", ".join(repr(column) for column in ("chosen", "rejected") if column not in columns)
    unpaired = {"completion", "label"} <= set(columns) or "kto_tag" in columns
    raise ValueError(
        f"{name} has no column {absent}; columns found: {', '.join(columns)}. "
        + ("Its rows hold one response with a label each, which makes no pairs. " if unpaired else "")
        + "Name them by --prompt_column, --chosen_column and --rejected_column, with --label_column where a column "
        f"says which of the two is better. Read without flags: {', '.join(dict.fromkeys(x.name for x in LAYOUTS))}"
    )


def asked(row: dict, column: str) -> str | list[dict] | None:
    """The prompt in a cell: text, or messages. A list of texts is turns, of which the first and last are the user's.

    An `instruction` goes with its `input` and with the rounds of its `history`, as LLaMA-Factory reads it. Of an
    object it is what it holds as messages, full_text, post, article or text.

    Raises:
        ValueError: anything else.
        LeftOut: turns that end with the assistant's.
    """
    cell = decoded_conversation(row.get(column))
    if isinstance(cell, dict):
        held = [cell[k] for k in ("messages", "full_text", "post", "article", "text") if cell.get(k)]
        cell = held[0] if held else cell
    if column == "instruction" and isinstance(cell, str):
        if isinstance(row.get("input"), str) and row["input"].strip():
            cell = f"{cell}\n{row['input']}" if cell.strip() else row["input"]
        rounds = decoded(row.get("history"))
        if isinstance(rounds, list) and rounds:
            cell = [text for turn in rounds for text in turn] + [cell]
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, list) and cell and all(isinstance(text, str) for text in cell):
        cell = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(cell)]
        if len(cell) % 2 == 0:
            raise LeftOut("a prompt of several texts, in turns, that do not end with the user's")
    if not is_conversation(cell):
        raise ValueError(
            f"column {column!r} must hold text or messages with 'role' and text 'content'; found {str(cell)[:200]}"
        )
    return conversation(cell, column)


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, (int, float)) and value == value else None
