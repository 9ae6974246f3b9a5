"""Multiple choice: what there is to choose from, how it is shown, and which letter an answer means."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from string import ascii_uppercase
from typing import Any

from train.problems.golds import AnswerError, listed

ASK = "Answer with the letter of the right choice."
WORDS = {
    "letter": "the letters or names of choices",
    "text": "the texts of choices",
    "index": "positions that are counted from 0",
    "index1": "positions that are counted from 1",
}
_MARK = re.compile(r"(?:^|(?<=[\s,;]))\(?([A-Ja-j]) ?[).:]\s*")  # (A) or "a )" or B.
_OWN_MARK = re.compile(r"\s*\(?([A-J])[).:]\s*(.*)", re.DOTALL)
_FIELDS = (("label", "key", "id", "option"), ("text", "value", "content"))


class ChoiceError(ValueError):
    """A cell that cannot be read as choices."""


@dataclass(frozen=True)
class Choices:
    """Texts to choose from, with the names that the data gives them (A, 1, ...)."""

    texts: tuple[str, ...]
    names: tuple[str, ...]
    right: int | None = None  # where the data itself says which one

    def shown(self, problem: str) -> str:
        """The problem with its choices as A, B, ... below, and the wish for a letter. Where the problem shows them
        already, it stays as it is."""
        marks = [rf"\(?{letter} ?[).:]\s*{re.escape(text)}" for letter, text in zip(ascii_uppercase, self.texts)]
        if all(re.search(mark, problem) for mark in marks):
            return problem
        lines = [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, self.texts)]
        return f"{problem}\n\n" + "\n".join(lines) + f"\n\n{ASK}"

    def positions(self, answer: Any) -> dict[str, int]:
        """For each way of naming a choice (WORDS) in which the answer names one: which."""
        found = {}
        if isinstance(answer, float) and answer.is_integer():
            answer = int(answer)
        text = " ".join(str(answer).split())
        bare = re.sub(r"^(option|choice|answer) ", "", text.strip("().:").casefold()).strip("().:")
        names = [name.casefold() for name in self.names]
        letters = [letter.casefold() for letter in ascii_uppercase[: len(names)]]
        own = _OWN_MARK.fullmatch(text)
        if bare in names:
            found["letter"] = names.index(bare)
        elif bare in letters and not isinstance(answer, Integral):
            found["letter"] = letters.index(bare)
        elif own and own[1].casefold() in names and _same(own[2], self.texts[names.index(own[1].casefold())]):
            found["letter"] = names.index(own[1].casefold())
        equal = [i for i, choice in enumerate(self.texts) if _same(choice, text)]
        if len(equal) == 1:
            found["text"] = equal[0]
        if re.fullmatch(r"\d{1,2}", text):
            found |= {kind: int(text) - first for kind, first in (("index", 0), ("index1", 1))}
        return {kind: i for kind, i in found.items() if 0 <= i < len(self.texts)}


def read_choices(cells: Sequence[Any], columns: Sequence[str]) -> Choices | None:
    """The choices of a row; None where it has none.

    Args:
        cells: one cell with a list of texts, of objects with label and text, an object of both lists or of named
            texts, or a text such as ``a ) 38 , b ) 27``; or one text for each choice.
        columns: their columns, whose last letters or numbers are then the names.

    Raises:
        ChoiceError: a cell of another kind, a gap between choices, or one name for two.
    """
    if len(columns) > 1:
        return _made(list(cells), [re.split(r"[\s_]", column)[-1][-1:] for column in columns])
    value = cells[0]
    if isinstance(value, str):
        try:
            value = listed(value.strip(), numbers=True)
        except AnswerError as error:
            raise ChoiceError(str(error)) from error
    if isinstance(value, str):
        return _of_text(value) if value else None
    if isinstance(value, dict):
        texts, labels = value.get("text"), value.get("label", value.get("labels"))
        if isinstance(texts, list) and isinstance(labels, list):
            return _made(texts, labels)
        return _made(list(value.values()), list(value))
    if isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        keys = [next((name for name in names if name in value[0]), None) for names in _FIELDS]
        if None in keys:
            raise ChoiceError(f"objects with the fields {', '.join(value[0])}")
        return _made([item[keys[1]] for item in value], [item[keys[0]] for item in value])
    if isinstance(value, (list, tuple)):
        own = [_OWN_MARK.fullmatch(item) if isinstance(item, str) else None for item in value]
        if value and [mark and mark[1] for mark in own] == list(ascii_uppercase[: len(own)]):
            return _made([mark[2] for mark in own if mark], list(ascii_uppercase[: len(own)]))
        return _made(list(value), list(ascii_uppercase))
    if value is None:
        return None
    raise ChoiceError(f"a {type(value).__name__}, {str(value)[:100]}")


def with_right(right: Any, wrong: Sequence[Any], question: str) -> Choices | None:
    """The right choice among the wrong ones, in an order that depends on the question's text alone."""
    texts = [text for value in (right, *wrong) if value is not None and (text := str(value).strip())]
    if right is None or len(texts) < 2:
        return None
    order = sorted(range(len(texts)), key=lambda i: hashlib.sha256(f"{question}\n{texts[i]}".encode()).digest())
    return Choices(tuple(texts[i] for i in order), tuple(ascii_uppercase[: len(texts)]), order.index(0))


def choose_kind(found: list[dict[str, int]], numbers: bool, column: str) -> tuple[str, str]:
    """``(kind, note)``: how the answers of a column name choices, which is the way that fits most rows.

    Args:
        found: of each row, `Choices.positions`.
        numbers: the answers are numbers and no texts.

    Raises:
        ValueError: no way fits half of the rows, or two that mean different choices fit all of them.
    """
    order = ("letter", "index", "index1", "text") if numbers else ("letter", "text", "index", "index1")
    fits = Counter(kind for row in found for kind in row)
    best = max(order, key=lambda kind: fits[kind])  # the first of equals
    if 2 * fits[best] < len(found) or not fits[best]:
        raise ValueError(
            f"column {column} names a choice in {fits[best]} of {len(found)} rows only: name another --answer_column, "
            "or --choices_column '' to leave the choices out"
        )
    rivals = ("letter", "text", "index") if numbers or best == "text" else ("letter", "text")
    others = [kind for kind in rivals if kind != best and fits[kind] == len(found)]
    for other in others if fits[best] == len(found) else ():
        if any(row[other] != row[best] for row in found):
            raise ValueError(
                f"column {column} can be read in two ways, as {WORDS[best]} and as {WORDS[other]}: say which with "
                f"--answer_kind {best} or --answer_kind {other}"
            )
    told = f"answers in column {column} are read as {WORDS[best]} (--answer_kind {best})"
    return best, told if best.startswith("index") else ""


def _same(a: str, b: str) -> bool:
    return " ".join(a.split()).casefold() == " ".join(b.split()).casefold()


def _made(texts: list, names: list) -> Choices | None:
    filled = ["" if text is None else str(text).strip() for text in texts]
    while filled and not filled[-1]:
        filled.pop()
    if not filled:
        return None
    if not all(filled) or len(filled) < 2 or len(filled) > len(ascii_uppercase):
        raise ChoiceError(f"a gap, or a number of choices that makes no sense: {str(texts)[:100]}")
    labels = [str(name).strip() for name in names[: len(filled)]]
    if len(set(labels)) < len(filled):
        raise ChoiceError(f"names of choices that repeat: {', '.join(labels)}")
    return Choices(tuple(filled), tuple(labels))


def _of_text(text: str) -> Choices | None:
    marks = list(_MARK.finditer(text))
    names = [mark[1].upper() for mark in marks]
    if len(names) < 2 or names != list(ascii_uppercase[: len(names)]):
        raise ChoiceError(f"a text that cannot be taken apart: {text[:100]}")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return _made([text[mark.end() : end].strip().rstrip(",;").strip() for mark, end in zip(marks, ends)], names)
