r"""Boxes: what a text puts into ``\boxed`` or ``\fbox``."""

from __future__ import annotations

import re

# "in \boxed form" and "\boxed." only speak of one
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z]|\s*[A-Za-z]{2}|\s*[.,;:!?)`'\"])")
_BRACED_BOX = re.compile(rf"{_BOX.pattern}\s*\{{")
_BRACELESS_END = re.compile(r"[$\n]|\\\)|\\\]|[.,;:!?](?=\s|$)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # "\\." swallows escaped braces (and any other command)
# What may stand between two boxes that give one answer together: "$x=\boxed{1}$, and $x=\boxed{2}$".
_JOINT = re.compile(
    r"(?:\\[)\]]|[$.\s]|\\[,;:! ]|\\q?quad)*"
    r"(?:[,;]|\\text\s*\{[,;\s]*(?:and|or)?\s*\}|(?:and|or)(?![A-Za-z]))+"
    r"(?:\\[(\[]|[$\s]|\\[,;:! ]|\\q?quad|(?:and|or)(?![A-Za-z])|\\text\s*\{\s*(?:and|or)\s*\})*"
    r"(?:\\?[A-Za-z]+(?:_\{?\w+\}?)?\s*=\s*)?"
    r"|[ $]*"
)


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
    few MATH solutions) the content runs to the end of the formula, line or sentence.

    Returns:
        The content, ``""`` for an empty box, None where there is no box or the last one is never closed.
    """
    boxes = list(_BOX.finditer(text))
    return _content(text, boxes[-1].end())[0] if boxes else None


def boxed_answer(text: str) -> str | None:
    r"""`last_boxed`, and the boxes before it that only ``,``, ``;``, "and", "or" or a space parts from it: an answer
    in several boxes is one list, ``1,2``. None also where the last box is empty."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    last = _content(text, boxes[-1].end(), stray_backslash=True)[0]
    if not last:
        return None
    contents, start = [last], boxes[-1].start()
    for box in reversed(boxes[:-1]):
        content, end = _content(text, box.end())
        if not content or end > start or not _JOINT.fullmatch(text[end:start]):
            break
        contents, start = [content, *contents], box.start()
    return ",".join(dict.fromkeys(contents))


def _content(text: str, start: int, stray_backslash: bool = False) -> tuple[str | None, int]:
    r"""Content of the box whose command ends at `start`, and where it ends; None of one that never closes.

    Args:
        stray_backslash: ``\boxed{185\}`` is an answer with a backslash at its end, as no ``\{`` is there to close.
    """
    opened = start + len(text[start:]) - len(text[start:].lstrip())
    if not text.startswith("{", opened):
        found = _BRACELESS_END.search(text, opened)
        end = found.start() if found else len(text)
        return text[opened:end].strip().rstrip(".,;") or None, end
    depth, escaped, stray = 0, 0, None
    for token in _BRACE.finditer(text, opened):
        depth += {"{": 1, "}": -1}.get(token.group(), 0)
        if depth == 0 and token.group() == "}":
            return text[opened + 1 : token.start()].strip(), token.end()
        escaped += {r"\{": 1, r"\}": -1}.get(token.group(), 0)
        if escaped < 0 and depth == 1 and stray is None:
            stray = token
    if stray is None or not stray_backslash:
        return None, len(text)
    return text[opened + 1 : stray.start() + 1].strip(), stray.end()
