r"""Right answers in a cell: texts, numbers, lists of alternatives, objects, and worked solutions that end in one."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from rewards.answers import boxed_answer, has_box, last_boxed, marked_answer

_ANSWER_IS = re.compile(r"\b[Aa]nswer is:?\s+(.+?)\.?\s*$")
_UNIT = re.compile(r"([-+]?\$?[\d.,/]+) \(([A-Za-z][A-Za-z .,/'-]*)\)")  # ASDiv: 9 (apples)
_NONE = ("proof", "notfound", "not found")  # NuminaMath's words for an answer that there is not
_ALTERNATIVES = (("value", "aliases"), ("text",), ("ground_truth",))  # TriviaQA, SQuAD, verl
_LONG = 25  # words; with two sentences or as many words an answer is an explanation


class AnswerError(ValueError):
    """A cell that cannot be read as an answer."""


def final_answer(text: str) -> str | None:
    r"""The answer that a worked solution ends with: what follows a last line's ``####`` (GSM8K), else the content of
    its last ``\boxed{}``, else what follows "answer is" in its last line. None where there is none."""
    if marked := marked_answer(text):
        return marked
    if has_box(text):
        return last_boxed(text) or None
    found = _ANSWER_IS.search(text.strip().rpartition("\n")[2])
    return found[1].strip() if found else None


def clean(text: str) -> str:
    r"""An answer without dollars, ``\(...\)`` around it and white space at its ends."""
    text = re.sub(r"(?<!\\)\$", "", text).strip()
    wrapped = re.fullmatch(r"\\\((.*)\\\)|\\\[(.*)\\\]", text, re.DOTALL)
    inner = (wrapped[1] or wrapped[2] or "") if wrapped else ""
    return inner.strip() if wrapped and not re.search(r"\\[()\[\]]", inner) else text


def number_text(value: Any, whole: bool = False) -> str | None:
    """A number as text: an integer by its digits, a float without an exponent if it is of usual size; None where it
    is not finite. `whole`: its column has whole numbers only, so that 5.0 is written 5."""
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return str(bool(value))
    if isinstance(value, Integral):
        return str(int(value))
    if not math.isfinite(value):
        return None
    if whole:
        return f"{value:.0f}"
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if exact and not -9 <= exact.adjusted() <= 20:
        digits = exact.normalize().as_tuple()
        mantissa = Decimal((digits.sign, digits.digits, 1 - len(digits.digits)))
        return rf"{mantissa:f} \times 10^{{{exact.adjusted()}}}"
    return f"{exact:f}"


def listed(text: str, numbers: bool = False) -> Any:
    """The list or object that a text writes out, in JSON or Python; the text itself where it is neither, or (without
    `numbers`) a list of anything but texts: [1, 2] may be an interval or a point."""
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}"):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            if re.search(r"['\"]\s+['\"]", text):  # Python would join the two texts to one
                raise AnswerError(f"a printed array, {text[:100]}: write lists as JSON")
            value = ast.literal_eval(text) if len(text) < 100_000 else text
        except AnswerError:
            raise
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
    if isinstance(value, list):
        return value if value and (numbers or all(isinstance(item, str) for item in value)) else text
    return value if isinstance(value, dict) and value and all(isinstance(key, str) for key in value) else text


def is_whole(values: list) -> bool:
    """Whether a column holds floats and all are whole numbers, as integers become where one value is missing."""
    finite = [v for v in values if isinstance(v, float) and math.isfinite(v)]
    return bool(finite) and all(v.is_integer() and abs(v) < 2**53 for v in finite)


def golds(value: Any, whole: bool = False, worked: bool = False, told: Counter | None = None) -> tuple[str, ...]:
    """The answers in a cell, each of which is right.

    Args:
        value: text (an answer, or a worked solution that ends in one), number, list of alternatives, or an object
            with value and aliases, or text.
        whole: see `number_text`.
        worked: the column holds worked solutions, so that a text without a marked answer has none.
        told: counts what was decided: "none" (a word for no answer) and "unit" (left out).

    Raises:
        AnswerError: an object of another kind.
    """
    told = Counter() if told is None else told
    if isinstance(value, str):
        value = listed(value.strip())
    if value is None:
        return ()
    if isinstance(value, (Real, Decimal)):
        text = number_text(value, whole)
    elif isinstance(value, (list, tuple)):
        each = [golds(item, whole, worked, told) for item in value]
        return tuple(dict.fromkeys(answer for answers in each for answer in answers))
    elif isinstance(value, dict):
        keys = next((keys for keys in _ALTERNATIVES if value.get(keys[0]) is not None), None)
        if keys is None:
            raise AnswerError(f"an object with the fields {', '.join(value)}")
        return golds([value.get(key) for key in keys], whole, worked, told)
    elif isinstance(value, str):
        text = _of_text(value, worked, told)
        # two boxes that are one answer: MATH's own answer is the last of them, and all of them are right too
        if text and has_box(value) and final_answer(value) == last_boxed(value):
            return tuple(dict.fromkeys((text, clean(boxed_answer(value) or "") or text)))
    else:
        raise AnswerError(f"a {type(value).__name__}, {str(value)[:100]}")
    return (text,) if text else ()


def is_explanation(answer: str) -> bool:
    """Whether an answer is a text of several sentences."""
    words = re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", answer)
    return len(words) >= _LONG or (len(words) >= 8 and bool(re.search(r"[a-z\d)$][.!?]\s+[A-Z]", answer)))


def _of_text(value: str, worked: bool, told: Counter) -> str:
    if value.strip().lower() in _NONE:
        told["none"] += 1
        return ""
    found = final_answer(value)
    if found is None and worked:
        return ""
    text = clean(value if found is None else found)
    unit = _UNIT.fullmatch(text)
    if unit:
        told["unit"] += 1
        return unit[1]
    return text
