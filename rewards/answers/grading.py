"""Whether a response is right: one extraction and one equality, for rewards and for evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.answers.boxes import boxed_answer, has_box, last_boxed
from rewards.answers.equality import matches
from rewards.answers.stated import is_prose, stated_answer


def final_answer(text: str, boxed_only: bool = False) -> str | None:
    r"""The answer that a text ends with, as it is written there; None where it has none.

    Args:
        boxed_only: a text without a box has no answer.
    """
    if has_box(text):
        return boxed_answer(text)
    return None if boxed_only else stated_answer(text)


def marked_answer(text: str) -> str | None:
    r"""What follows ``####`` in the last line of a worked solution (GSM8K); None where that marks no answer."""
    lines = [line for line in text.split("\n") if line.strip()]
    before, mark, after = lines[-1].rpartition("####") if lines else ("", "", "")
    marked = mark and (not before or before[-1].isspace()) and not has_box(after)  # a heading may hold a box
    return after.strip() or None if marked else None


def gold_answer(reference: str | float | None) -> str | None:
    r"""The right answer in a reference: of a worked solution its `marked_answer`, else its last box; of a text with
    an announced answer ("The answer is 5.") that, else the whole text. None where it has no answer."""
    text = "" if reference is None else str(reference)
    if marked := marked_answer(text):
        return marked
    if has_box(text):
        return boxed_answer(text)
    text = text.strip()
    return (stated_answer(text) if is_prose(text) else None) or text or None


def gold_answers(reference: str | float | Sequence | None) -> list[str]:
    """`gold_answer` of a reference, or of each of a list of alternatives; those without an answer left out. Of boxes
    that give one answer together the last alone comes first and counts as well: it is all that MATH's own grader
    takes."""
    several: Sequence = reference if isinstance(reference, (list, tuple)) else [reference]
    golds: list[str] = []
    for one in several:
        if gold := gold_answer(one):
            boxed = isinstance(one, str) and has_box(one) and not marked_answer(one)
            last = last_boxed(one) if boxed else None
            golds += [last or gold, gold]
    return list(dict.fromkeys(golds))


def is_right(answer: str | None, golds: Sequence[str], tolerance: float = 0.0) -> bool:
    """Whether an answer matches one of the gold answers; several boxes may also hold several of them, all right."""
    return answer is not None and any(matches(answer, gold, tolerance) for gold in golds)
