"""Equality of two answers: of their texts, or of the values that were read, part by part and number by number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

from latex2sympy2_extended import is_expr_of_only_symbols
from sympy import (
    And,
    Basic,
    EmptySet,
    Eq,
    Expr,
    FiniteSet,
    Interval,
    Mul,
    Ne,
    Rational,
    S,
    Set,
    Tuple,
    UnevaluatedExpr,
    oo,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import BooleanAtom
from sympy.matrices import MatrixBase, MatrixExpr

from rewards.answers.numbers import TooLarge, canonical, check_size, exact, same_function, zero
from rewards.answers.reading import Reading, decimal_comma, read
from rewards.answers.real_sets import same_real_set

logger = logging.getLogger(__name__)
_PERCENT = UnevaluatedExpr(Rational(1, 100))
_ENTRIES = 400  # of lists and matrices; longer ones are compared as texts only


@lru_cache(maxsize=65536)
def matches(answer: str, gold: str, tolerance: float = 0.0) -> bool:
    """Whether an answer is equal to a gold answer, see the package's docstring for what that means.

    Args:
        tolerance: where one of two numbers is written as a decimal, the largest difference, as a share of the gold
            one, that counts as equal. 0: a decimal is the number that is written.
    """
    a, b = read(gold), read(answer)
    if _same_reading(a, b, tolerance):
        return True
    # 1,22 is a list, or a decimal as much of the world writes it: then the other has a decimal point
    for x, y in ((decimal_comma(gold), b), (a, decimal_comma(answer))):
        if x is not None and y is not None and x.decimal and y.decimal and _same_reading(x, y, tolerance):
            return True
    return False


def _same_reading(a: Reading, b: Reading, tolerance: float) -> bool:
    if a.text and a.text == b.text:
        return True
    (words_a, certain_a), (words_b, certain_b) = a.words, b.words
    if words_a is not None and words_b is not None and (words_a == words_b or certain_a or certain_b):
        return words_a.replace(" ", "") == words_b.replace(" ", "")
    if a.based or b.based:
        return _same_based(a, b)
    if (a.time and b.time) or {a.braces, b.braces} == {"{", "("}:
        return False
    if a.value is None or b.value is None:
        return False
    try:
        return _Comparison(tolerance if a.decimal or b.decimal else 0.0).same(a.value, b.value)
    except TooLarge:
        return False  # beyond what is computed, only equal texts are equal
    except Exception as error:  # sympy raises whatever comes up in its depths, and no odd answer may end a training
        logger.warning("Cannot compare %r with %r (%r): they count as different.", a.text, b.text, error)
        return False


def _same_based(a: Reading, b: Reading) -> bool:
    """2516_8 is 2516_8 and any other way to write that number with a base; without one, 2516 is taken in base 8."""
    if a.based and b.based:
        return int(a.based[0], a.based[1]) == int(b.based[0], b.based[1])
    based, other = (a.based, b) if a.based else (b.based, a)
    return based is not None and other.text.lstrip("0") == based[0]


class _Comparison:
    def __init__(self, tolerance: float):
        self.tolerance = tolerance

    def same(self, gold: Basic | MatrixBase, answer: Basic | MatrixBase) -> bool:
        """Whether two values of math-verify are equal. The gold one says whether the unknown's name is needed."""
        gold, answer = _unwrapped(gold, answer), _unwrapped(answer, gold, other_is_gold=True)
        gold, answer = (x.doit() if isinstance(x, MatrixExpr) else x for x in (gold, answer))
        if isinstance(gold, MatrixBase) or isinstance(answer, MatrixBase):
            return self._same_matrices(gold, answer)
        if isinstance(gold, (Relational, And)) and isinstance(answer, (Relational, And)):
            return self._same_relations(gold, answer)
        if isinstance(gold, (Set, Tuple, Relational, And)) or isinstance(answer, (Set, Tuple, Relational, And)):
            return self._same_collections(gold, answer)
        if isinstance(gold, Expr) and isinstance(answer, Expr):
            return self._same_scalars(gold, answer)
        return bool(gold == answer) and not isinstance(gold, BooleanAtom)

    def _same_scalars(self, gold: Expr, answer: Expr) -> bool:
        percent = (_percent(gold), _percent(answer))
        gold, answer = (x if p is None else p for x, p in zip((gold, answer), percent, strict=True))
        if (percent[0] is None) == (percent[1] is None):
            return self._same_numbers(gold, answer)
        # 50 % is 50 with a unit, and it is 1/2
        marked, plain = (gold, answer) if percent[0] is not None else (answer, gold)
        hundredth = Mul(marked, Rational(1, 100), evaluate=False)
        return self._same_numbers(marked, plain) or self._same_numbers(hundredth, plain)

    def _same_numbers(self, gold: Expr, answer: Expr) -> bool:
        for x in (gold, answer):
            check_size(x)
        a, b = exact(gold), exact(answer)
        if a is not None and b is not None and a == b:
            return True
        if a is not None and b is not None:
            return abs(a - b) <= Fraction(self.tolerance) * abs(a)
        x, y = canonical(gold), canonical(answer)
        if x == y:
            return not x.has(S.NaN, S.ComplexInfinity)
        if x.is_infinite or y.is_infinite or x.has(oo) or y.has(oo):
            return False
        if x.free_symbols or y.free_symbols:
            return same_function(x, y)
        if self.tolerance and x.is_real and y.is_real:
            return bool(abs((x - y).evalf()) <= self.tolerance * abs(x.evalf()))
        return zero(x - y) is True

    def _same_matrices(self, gold, answer) -> bool:
        if not (isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase)) or gold.shape != answer.shape:
            return False
        entries = list(zip(gold.flat(), answer.flat(), strict=True))
        return len(entries) <= _ENTRIES and all(self.same(x, y) for x, y in entries)

    def _same_collections(self, gold, answer) -> bool:
        """Lists, pairs, sets and intervals; the only element of a set is as good as the set."""
        if isinstance(gold, Interval) and isinstance(answer, Interval):
            closed = (gold.left_open, gold.right_open) == (answer.left_open, answer.right_open)
            return closed and self.same(gold.start, answer.start) and self.same(gold.end, answer.end)
        a, b = _elements(gold), _elements(answer)
        if a is not None and b is not None:
            if max(len(a), len(b)) > _ENTRIES:
                return False
            if isinstance(gold, FiniteSet) or (isinstance(answer, FiniteSet) and not _ordered(gold)):
                covered = all(any(self.same(x, y) for y in b) for x in a)
                return covered and all(any(self.same(x, y) for x in a) for y in b)
            return len(a) == len(b) and all(self.same(x, y) for x, y in zip(a, b, strict=True))
        return same_real_set(gold, answer)

    def _same_relations(self, gold, answer) -> bool:
        if isinstance(gold, And) or isinstance(answer, And):
            return _all_in(gold, answer, self._same_relations) or same_real_set(gold, answer)
        if isinstance(gold, Eq) and isinstance(answer, Eq):
            if gold.lhs == answer.lhs or _name(gold.lhs) == _name(answer.lhs) is not None:
                return self.same(gold.rhs, answer.rhs)
            if isinstance(gold.rhs, (Set, Tuple)) or isinstance(answer.rhs, (Set, Tuple)):
                return False
        return _same_lines(gold, answer) or same_real_set(gold, answer)


def _unwrapped(value, other, other_is_gold: bool = False):
    """The right side of ``x = 5`` where the other is no equation. An answer may also end a computation, 3 + 2 = 5."""
    last = value.args[-1] if isinstance(value, And) else value
    if isinstance(value, And):
        parts = list(getattr(value, "_unsorted_args", value.args))
        if not all(isinstance(part, Eq) for part in parts):
            return value
        first, last = parts[0], parts[-1]
    elif isinstance(value, Eq):
        first = last = value
    else:
        return value
    if isinstance(other, Eq) or (isinstance(other, And) and any(isinstance(part, Eq) for part in other.args)):
        return Eq(first.lhs, last.rhs, evaluate=False) if is_expr_of_only_symbols(first.lhs) else value
    if isinstance(other, (Relational, And)) and not isinstance(last.rhs, Set):
        return value
    named = is_expr_of_only_symbols(first.lhs) or not (first.lhs.free_symbols or last.rhs.free_symbols)
    return last.rhs if named or (other_is_gold and last.rhs.is_number and last.rhs != 0) else value


def _elements(value) -> list | None:
    if isinstance(value, FiniteSet):
        return list(getattr(value, "_unsorted_args", value.args))
    if isinstance(value, Tuple):
        return list(value.args)
    if isinstance(value, Interval) and value.left_open and value.right_open and value.is_open:
        return [value.start, value.end] if not value.start.is_infinite and not value.end.is_infinite else None
    if value is EmptySet or value is S.EmptySet:
        return []
    return None if isinstance(value, (Set, Relational, And)) else [value]


def _ordered(value) -> bool:
    return isinstance(value, (Tuple, Interval))


def _percent(value: Expr) -> Expr | None:
    """x of x %, as math-verify writes it."""
    if isinstance(value, Mul) and _PERCENT in value.args:
        rest = [part for part in value.args if part != _PERCENT]
        return Mul(*rest, evaluate=False) if len(rest) != 1 else rest[0]
    return None


def _name(side) -> str | None:
    return str(side).lower() if isinstance(side, Expr) and is_expr_of_only_symbols(side) else None


def _all_in(gold, answer, same: Callable[[Basic, Basic], bool]) -> bool:
    """Whether two chains have the same relations, in any order."""
    a, b = (list(x.args) if isinstance(x, And) else [x] for x in (gold, answer))
    return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)


def _same_lines(gold: Relational, answer: Relational) -> bool:
    """Whether one relation is the other times a number: 2x + 4y = 3 and y = 3/4 - x/2."""
    reversed_answer = answer.reversed
    for other in (answer, reversed_answer):
        if type(gold) is not type(other):
            continue
        sides: Sequence[Expr] = [gold.lhs, gold.rhs, other.lhs, other.rhs]
        if not all(isinstance(side, Expr) for side in sides):
            return False
        for side in sides:
            check_size(side)
        left, right = (canonical(x) - canonical(y) for x, y in (sides[:2], sides[2:]))
        if left == 0 or right == 0:
            return bool(left == right)
        ratio = left / right
        names = sorted(ratio.free_symbols, key=str)
        at = {symbol: Rational(11, 7) + Rational(i, 13) for i, symbol in enumerate(names)}
        constant = ratio.xreplace(at)
        positive = bool(constant.is_real) and bool(constant > 0)
        if (positive or isinstance(gold, (Eq, Ne))) and same_function(left, right * constant):
            return True
    return False
