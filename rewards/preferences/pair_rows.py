"""One row of a preference file as a prompt, its responses and their scores, whatever the layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

from rewards.preferences.layouts import Layout, asked
from rewards.preferences.messages import (
    LeftOut,
    is_conversation,
    is_message,
    is_transcript_prompt,
    marked_messages,
    one_history,
    split_conversation,
    split_transcript,
    transcript_messages,
    with_history,
)
from rewards.preferences.responses import NOTHING


@dataclass
class PairRow:
    """What is compared in one row.

    Attributes:
        prompt: text as it stands, or chat messages.
        responses: texts, the best first.
        scores: one a response; the higher one is better.
        seen: what is worth counting, as sentences about rows without their subject.
        lost: what else of the row is not compared, with counts: ties, and responses without a score.
    """

    prompt: str | list[dict]
    responses: list[str]
    scores: list[float]
    seen: list[str] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)


TIE = "ties"
READ_AS_TURNS = 'hold turns as one text ("Human: ... Assistant: ..."), read as messages'
MARKS_AS_TURNS = "hold turns as one text (<extra_id_1>Assistant ... <extra_id_1>User ...), read as messages"
GAVE_WAY = "bring their turns along, read in place of the column that was guessed to ask"
LISTS_AS_TEXT = "have responses that are lists written as text, kept as they are"
PREFIX_KEPT = "have responses that all begin with the text of the prompt, kept as they are"
PREFILLED = "have a prompt that ends with a turn of the assistant"


class _Told(NamedTuple):
    """A response, the turns that its cell has before it, and those as they stand there if they are one text."""

    history: list[dict]
    text: str
    written: str | None = None


def read_row(
    row: dict, layout: Layout, prompt: str | None, label: str | None = None, guessed: bool = False, chat: bool = True
) -> PairRow:
    """A row of a file of this layout.

    Args:
        prompt: column of the prompt, None where the responses bring it along.
        label: as `Layout.read` takes it.
        guessed: the column gives way to turns that the responses bring along.
        chat: turns in one text become messages; else they stay that text, and responses keep the space before them.

    Raises:
        LeftOut: nothing to compare; it says why.
        ValueError: a cell that is neither text nor messages.
    """
    judged = layout.read(row, label)
    ask = asked(row, prompt) if prompt else None
    seen = []
    if isinstance(ask, str) and not ask.strip():
        ask = None
    elif isinstance(ask, str) and chat and (marked := marked_messages(ask)):
        ask = marked
        seen.append(MARKS_AS_TURNS)
    turns = ask if isinstance(ask, str) and is_transcript_prompt(ask) else None
    told = [_told(cell, ask, turns is not None, row, layout) for cell in judged.responses]
    history, texts = one_history([t.history for t in told]), [t.text for t in told]
    before = transcript_messages(turns) if turns is not None else ask
    if guessed and history:
        before = None
        seen.append(GAVE_WAY)
    whole = with_history(before, history)
    if not whole:
        raise LeftOut(NOTHING)
    written = next((t.written for t in told if t.written is not None), turns)
    if written is not None and chat:
        texts = [text.strip() for text in texts]
        seen.append(READ_AS_TURNS)
    elif written is not None:
        whole = written
    if not isinstance(whole, str) and whole[-1]["role"] == "assistant":
        if whole[-1]["content"].strip() in [text.strip() for text in texts]:
            whole = whole[:-1]  # the conversation holds one of the responses too
        else:
            seen.append(PREFILLED)
    elif isinstance(whole, str) and written is None and all(text.startswith(whole) for text in texts):
        seen.append(PREFIX_KEPT)
    if all(text[:2] in ('["', "['") and text.endswith("]") for text in texts):
        seen.append(LISTS_AS_TEXT)
    if judged.by:
        seen.append(f"are compared by {judged.by!r}")
    lost = {"responses without a score": judged.unscored}
    if judged.ranked:
        lost["pairs of equal score"] = sum(a == b for a, b in combinations(judged.scores, 2))
    if len(set(judged.scores)) < 2:
        raise LeftOut(TIE)
    order = sorted(range(len(texts)), key=lambda i: -judged.scores[i])
    return PairRow(whole, [texts[i] for i in order], [judged.scores[i] for i in order], seen, lost)


def pairs_of(scores: list[float]) -> Iterator[tuple[int, int]]:
    """The better and the worse one of all pairs of responses whose scores differ."""
    for i, ours in enumerate(scores):
        yield from ((i, j) for j, theirs in enumerate(scores) if ours > theirs)


def _told(cell: Any, ask: str | list[dict] | None, turns: bool, row: dict, layout: Layout) -> _Told:
    if isinstance(cell, str):
        # beside a prompt, a text that begins with "Human:" is turns only if it holds that prompt
        own = ask is None or turns or (isinstance(ask, str) and ask.strip() in cell)
        split = split_transcript(cell) if own else None
        return _Told([], cell) if split is None else _Told(transcript_messages(split[0]), split[1], split[0])
    column = next((c for c in layout.columns if row.get(c) is cell or _holds(row.get(c), cell)), layout.columns[-1])
    if is_message(cell):
        cell = [cell]
    if not is_conversation(cell):
        raise ValueError(
            f"column {column!r} must hold text, chat messages or lists of them; found {str(cell)[:200]}. Name another "
            "column by --chosen_column, --rejected_column"
        )
    return _Told(*split_conversation(cell, column))


def _holds(cells: Any, cell: Any) -> bool:
    return isinstance(cells, list) and any(item is cell for item in cells)
