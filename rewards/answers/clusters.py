"""Answers of several responses, grouped by what they mean (1/2 is 0.5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rewards.answers.equality import matches
from rewards.answers.grading import final_answer
from rewards.frozen.encoding import response_text


def extract_answer(response: str | list[dict]) -> str | None:
    """`final_answer` of a response given as text or as chat messages."""
    return final_answer(response_text(response))


def answer_reader(how: Callable[[str | list[dict]], str | None] | str) -> Callable[[str | list[dict]], str | None]:
    """A function from a response to its answer: `how` itself, or, of a regular expression, its last match in the
    text (the match's first group, if it has one), None without a match."""
    if callable(how):
        return how
    pattern = re.compile(how)

    def read(response: str | list[dict]) -> str | None:
        found = list(pattern.finditer(response_text(response)))
        return found[-1][1 if pattern.groups else 0] if found else None

    return read


def equivalent(a: str, b: str) -> bool:
    """Whether two answers match, either taken for the gold one (`matches` is not symmetric: see ``x = 5``)."""
    return a == b or matches(a, b) or matches(b, a)


def cluster_answers(answers: Sequence[str | None], same: Callable[[str, str], bool] = equivalent) -> list[int | None]:
    """The cluster of each answer: the first whose first member is the same, else a new one.

    Each different text is parsed once and compared once with each cluster, so equivalence is taken to be transitive.

    Args:
        same: whether two answers, the first member and another, are the same.

    Returns:
        The clusters' numbers, from 0 in the order of their first members; None for an answer that is None.
    """
    cluster: dict[str, int] = {}
    firsts: list[str] = []
    for answer in answers:
        if answer is not None and answer not in cluster:
            known = (i for i, first in enumerate(firsts) if same(first, answer))
            cluster[answer] = next(known, len(firsts))
            if cluster[answer] == len(firsts):
                firsts.append(answer)
    return [None if answer is None else cluster[answer] for answer in answers]
