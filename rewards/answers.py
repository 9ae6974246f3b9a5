"""Final answers: taken out of responses, and grouped by what they mean (1/2 is 0.5).

math-verify stops what takes too long by a signal, which works in the main thread only: elsewhere these functions raise
its ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from math_verify import parse, verify

from rewards.frozen.encoding import response_text

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_BRACED_BOX = re.compile(rf"{_BOX.pattern}\s*\{{")
_BRACELESS_END = re.compile(r"[$\n]|\\\)|\\\]")
_SECONDS = 5  # for one answer to be parsed, or two to be compared; after that they count as different


def has_box(text: str) -> bool:
    r"""Whether there is a ``\boxed`` (or ``\fbox``) in ``text``, closed or not."""
    return _BOX.search(text) is not None


def box_start(text: str) -> int | None:
    r"""Where the content of the last ``\boxed{`` (or ``\fbox{``) in ``text`` begins, closed or not; None without."""
    boxes = list(_BRACED_BOX.finditer(text))
    return boxes[-1].end() if boxes else None


def last_boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed`` (or ``\fbox``) in ``text``, white space at its ends removed.

    Nested braces are balanced and escaped ones (``\{``, ``\}``) do not count. Without braces (``\boxed 5$``, as in a
    few MATH solutions) the content runs to the end of the formula or line, less a closing ``.``, ``,`` or ``;``.

    Returns:
        The content, ``""`` for an empty box, None where there is no box or the last one is never closed.
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    rest = text[boxes[-1].end() :].lstrip()
    if not rest.startswith("{"):
        return _BRACELESS_END.split(rest, maxsplit=1)[0].strip().rstrip(".,;") or None
    depth = 0
    for token in re.finditer(r"\\.|[{}]", rest, re.DOTALL):  # "\\." swallows escaped braces (and any other command)
        depth += {"{": 1, "}": -1}.get(token.group(), 0)
        if depth == 0 and token.group() == "}":
            return rest[1 : token.start()].strip()
    return None


def extract_answer(response: str | list[dict]) -> str | None:
    r"""The final answer of a response: its last ``\boxed{}``, or without any box what math-verify takes for the answer
    (the last formula or number, near "answer is" first).

    Returns:
        The answer as it was written. None where there is none: an empty or unclosed last box, or no box and neither
        formula nor number.
    """
    text = response_text(response)
    if has_box(text):
        return last_boxed(text) or None
    found = parse(text, parsing_timeout=_SECONDS)
    return str(found[-1]) if found else None  # math-verify gives the expression, then its text


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


@lru_cache(maxsize=8192)
def _parsed(answer: str) -> list:
    return parse(rf"\boxed{{{answer}}}", parsing_timeout=_SECONDS)


@lru_cache(maxsize=65536)
def equivalent(a: str, b: str) -> bool:
    """Whether two answers are equal as text, or for math-verify, in either order (its `verify` is not symmetric)."""
    if a == b:
        return True
    x, y = _parsed(a), _parsed(b)
    return verify(x, y, timeout_seconds=_SECONDS) or verify(y, x, timeout_seconds=_SECONDS)


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
