r"""Reading an answer: its text, and the value that math-verify finds in it. Nothing that is read can take for ever."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from math_verify import LatexExtractionConfig, parse
from sympy import Basic, nan, zoo
from sympy.matrices import MatrixBase

from rewards.answers.notation import tidy, unspaced, words
from rewards.answers.numbers import BITS

LENGTH = 1000  # characters; a longer answer is compared as a text only
DEPTH = 12  # nested brackets, each of which doubles the parser's time; where there are more too

_LATEX = LatexExtractionConfig(boxed_match_priority=0)
_BASED = re.compile(
    r"\(?\s*(?:\\(?:text|mathrm|mathtt)\s*\{)?\s*"
    r"(?P<digits>[0-9][0-9A-F ]*|[A-F][0-9A-F ]*[0-9][0-9A-F ]*)\}?\s*\)?\s*"
    r"_\s*(?:\{\s*(?:\\(?:text|mathrm)\s*\{\s*)?(?P<base>\w+)\s*\}?\s*\}|(?P<short>\d))"
)
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_BASES |= {"eleven": 11, "twelve": 12, "sixteen": 16}
_TIME = re.compile(r"(\d{1,2}):(\d\d)(?![\d:])")
_DECIMAL_COMMA = re.compile(r"(-?\d+),(\d+)")
# digits that are no one number, and what would be computed while it is read
_APART = re.compile(
    r"(?<![_^\d])\d+\s+\d|\\(?:d?binom|operatorname)(?=[^A-Za-z].*(?:\d{6}|[!^]\s*\{?\d|eye|zeros|ones|diag|stack))"
)
_POWER = re.compile(r"\^\s*|!")


@dataclass(frozen=True)
class Reading:
    """An answer as it is compared.

    text: tidied, without white space. words: see `notation.words`. braces: "{", "(" or "", what encloses all of it.
    based: digits and base of a number such as 2516_8. decimal: written with a decimal point. value: of sympy, None
    where there is none.
    """

    text: str
    words: tuple[str | None, bool] = (None, False)
    braces: str = ""
    based: tuple[str, int] | None = None
    time: str | None = None
    decimal: bool = False
    value: Basic | MatrixBase | None = None


@lru_cache(maxsize=16384)
def read(answer: str) -> Reading:
    """What an answer says. It never raises: what cannot be read has a text and no value."""
    if len(answer) > LENGTH:
        return Reading(" ".join(answer.split()))
    text = tidy(answer)
    found = _BASED.fullmatch(text)
    based = _based(found) if found else None
    value = None if based else _value(text)
    time = _TIME.fullmatch(text)
    return Reading(
        unspaced(text),
        words(text),
        _enclosing(text),
        based,
        time.group() if time and int(time[1]) < 25 and int(time[2]) < 60 else None,
        re.search(r"\d\.\d", text) is not None,
        value,
    )


def decimal_comma(answer: str) -> Reading | None:
    """An answer such as 1,22 as a decimal number, None of any other: it may be a list as well."""
    found = _DECIMAL_COMMA.fullmatch(tidy(answer)) if len(answer) <= LENGTH else None
    return read(f"{found[1]}.{found[2]}") if found else None


def _value(text: str) -> Basic | MatrixBase | None:
    if not text or _APART.search(text) or _depth(text) > DEPTH or _size(text) == math.inf:
        return None
    # 2516_8 in a formula: math-verify would leave the base out
    text = re.sub(r"(?<![\w.])(\d+)_(?:\{(\d+)\}|(\d))", _in_decimal, text)
    found = _quietly(lambda: parse(rf"\boxed{{{text}}}", [_LATEX], parsing_timeout=None))
    value = found[0] if found else None
    if not isinstance(value, (Basic, MatrixBase)) or value.has(nan, zoo):
        return None
    return value


def _quietly(function: Callable):
    """math-verify warns once that its time-outs are off: sizes are bounded here instead."""
    logger = logging.getLogger("math_verify")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return function()
    finally:
        logger.setLevel(level)


def _depth(text: str) -> int:
    """How deep brackets are nested, DEPTH + 1 where braces do not match."""
    depth = deepest = braces = 0
    for token in re.findall(r"\\.|[{}()\[\]]", text, re.DOTALL):
        if token[0] != "\\":
            depth += 1 if token in "{([" else -1
            braces += {"{": 1, "}": -1}.get(token, 0)
            deepest = max(deepest, depth)
            if braces < 0:
                return DEPTH + 1
    return DEPTH + 1 if braces else deepest


def _size(text: str) -> float:
    """Roughly the bits of the product of all numbers in a text, infinite where a power or factorial has over BITS."""
    total, start = 0.0, 0
    for found in _POWER.finditer(text):
        if found.start() < start:
            continue
        before = text[start : found.start()].rstrip()
        number = re.search(r"\d+$", before)
        base = max(_plain_size(number.group() if number else before if before.endswith((")", "}")) else ""), 1.0)
        total, start = total + _plain_size(before), found.end()
        if found.group() == "!":
            if total > 30 or 2**total * total > BITS:
                return math.inf
            total = 2**total * max(total, 1.0)
            continue
        exponent, start = _argument(text, found.end())
        size = _size(exponent)
        if size > 30 or base * 2**size > BITS:
            return math.inf
        total += base * 2**size
    return total + _plain_size(text[start:])


def _plain_size(text: str) -> float:
    return sum(max(math.log2(float(n)) if len(n) < 300 else 3.4 * len(n), 0.0) for n in re.findall(r"[1-9]\d*", text))


def _argument(text: str, start: int) -> tuple[str, int]:
    """The argument of a ``^`` that ends at `start`, and where it ends itself."""
    if not text.startswith(("{", "("), start):
        found = re.compile(r"-?(?:\d+|\\[A-Za-z]+|.)?", re.DOTALL).match(text, start)
        return (found.group(), max(found.end(), start)) if found else ("", start)
    depth = 0
    for token in re.compile(r"\\.|[{}()]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(token.group(), 0)
        if depth == 0:
            return text[start + 1 : token.start()], token.end()
    return text[start + 1 :], len(text)


def _enclosing(text: str) -> str:
    r"""``{`` of a set in braces, ``(`` of a pair or interval in round brackets, else nothing."""
    return "{" if text.startswith(r"\{") else "(" if text.startswith("(") and text.endswith(")") else ""


def _based(found: re.Match) -> tuple[str, int] | None:
    name = found["base"] or found["short"]
    base = _BASES.get(name.lower()) or (int(name) if name.isdecimal() else 0)
    digits = found["digits"].replace(" ", "")
    return (digits.lstrip("0") or "0", base) if 2 <= base <= 36 and all(int(d, 36) < base for d in digits) else None


def _in_decimal(found: re.Match) -> str:
    base = int(found[2] or found[3])
    valid = 2 <= base <= 36 and all(int(d) < base for d in found[1])
    return str(int(found[1], base)) if valid else found[0]
