"""Verdicts at the end of what a judge, or a policy that learns to judge, has written.

A judge that explains itself concludes with its verdict, so the last one counts, of the most explicit form that occurs.
Thoughts between `<think>` and `</think>` do not count. Thoughts that never end mean that the budget ran out before a
verdict. So does an answer that breaks off in the very sentence of its last verdict ("perhaps [[3]], or"), where it was
asked for reasons: whoever goes on there had not made up their mind. Nor has who offers two ("[[A]] or [[B]]").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

VERDICT_TOKENS = 32  # that a verdict may take after its reasons

_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_GOES_ON = re.compile(r"[^\w\n.!?]*\w[^\n.!?]*\Z")  # words up to the end of the text, and no end of a sentence
_OR = re.compile(r"[*_ ]*(?:[,/]|or|and)?[*_ ]*")  # between two verdicts of which neither is one


def without_thoughts(text: str) -> str:
    """What is written outside of `<think>...</think>`; nothing at all where the last thoughts never end. A
    `</think>` alone ends thoughts that the prompt began."""
    rest = _THOUGHTS.sub("", text).rpartition("</think>")[2]
    return "" if "<think>" in rest else rest


def last_verdict(text: str, forms: Sequence[re.Pattern], settled: bool = False) -> str | None:
    """The last match of the first of `forms` that occurs outside of thoughts, None without one.

    Args:
        forms: most to least explicit; one group of each matches, which is what is returned.
        settled: whether an answer that breaks off in the sentence of that match, or offers two, has no verdict.
    """
    text = without_thoughts(text)
    for form in forms:
        if found := list(form.finditer(text)):
            values = [match[match.lastindex or 0] for match in found]
            before, last = found[-2:] if len(found) > 1 else (None, found[-1])
            two = before and values[-2] != values[-1] and _OR.fullmatch(text, before.end(), last.start())
            return None if settled and (two or _GOES_ON.match(text, last.end())) else values[-1]
    return None


def parse_choice(text: str, choices: Sequence[str] = ("A", "B", "tie")) -> str | None:
    """The choice that a text ends with, as `choices` spells it, None if there is none: the last of "[[A]]", or else of
    "Verdict: A" or "the answer is A", or else a text that is no more than "A". See the head of this module."""
    found = last_verdict(text, _forms(tuple(choices)), settled=True)
    return next((choice for choice in choices if found and choice.casefold() == found.casefold()), None)


@cache
def _forms(choices: tuple[str, ...]) -> list[re.Pattern]:
    any_case = "|".join(map(re.escape, choices))
    # outside of brackets "a" is a word, so that a single letter has to be written as it is
    words = "|".join(re.escape(c) if len(c) == 1 else f"(?i:{re.escape(c)})" for c in choices)
    called = r"(?:(?i:response)\s+)?"
    return [
        re.compile(rf"\[\[\s*{called}({any_case})\s*\]\]", re.IGNORECASE),
        re.compile(
            rf"\b(?i:verdict|answer|winner)\b[\s*]*(?:[:=]|is\b)[\s:*\[(]*{called}({words})\b(?!\s*(?:/|,|and\b|or\b))"
        ),
        re.compile(rf"\A\W*{called}({words})\W*\Z"),
    ]


def check_reason_tokens(reason_tokens: int) -> int:
    """The budget of tokens for reasons, if it is one.

    Raises:
        ValueError: it is no whole number of at least 0.
    """
    if not isinstance(reason_tokens, int) or isinstance(reason_tokens, bool) or reason_tokens < 0:
        raise ValueError(
            f"reason_tokens is {reason_tokens!r}: set it to the most tokens of reasons before the verdict, such as "
            "512, or to 0 for a judge that gives none."
        )
    return reason_tokens
