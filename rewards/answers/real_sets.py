"""Sets of real numbers, as intervals, unions or inequalities in one unknown: x < 3 is (-oo, 3).

Two sets are equal where the same ends, points between the ends and points just beside them belong to both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sympy import And, Basic, Complement, Expr, FiniteSet, Intersection, Interval, Or, Rational, S, Symbol, Union, oo
from sympy.core.relational import Eq, GreaterThan, LessThan, Ne, Relational, StrictGreaterThan, StrictLessThan

from rewards.answers.numbers import canonical, check_size, zero

_HOLDS: dict[type, Callable[[int], bool]] = {
    StrictLessThan: lambda sign: sign < 0,
    LessThan: lambda sign: sign <= 0,
    StrictGreaterThan: lambda sign: sign > 0,
    GreaterThan: lambda sign: sign >= 0,
    Eq: lambda sign: sign == 0,
    Ne: lambda sign: sign != 0,
}
_ENDS = 40  # more are not compared


class _NoRealSet(Exception):
    """It is no set of real numbers, or none whose ends are known."""


def same_real_set(a: Basic, b: Basic) -> bool:
    """Whether both are the same set of real numbers; False also where one of them is none."""
    try:
        names = {name for value in (a, b) for name in _unknowns(value)}
        found = [end for value in (a, b) for end in _ends(value)]
        if len(names) > 1 or not found or len(found) > _ENDS:
            return False
        return all(_contains(a, x) == _contains(b, x) for x in _tests(found))
    except _NoRealSet:
        return False


def _unknowns(value: Basic) -> set[str]:
    if isinstance(value, Relational):
        return {symbol.name for side in value.args for symbol in canonical(side).atoms(Symbol)}
    if isinstance(value, (And, Or, Union, Intersection, Complement, FiniteSet)):
        return {name for part in value.args for name in _unknowns(part)}
    return set()


def _ends(value: Basic) -> Iterator[Expr]:
    """The finite ends of all intervals in a set, as far as they are known."""
    if _relations(value):
        for part in value.args:
            yield from _ends(part)
    elif isinstance(value, (Interval, FiniteSet)):
        parts = value.args[:2] if isinstance(value, Interval) else value.args
        yield from (_number(x) for x in parts if not getattr(x, "is_infinite", False) and not x.has(oo))
    elif isinstance(value, (And, Or, Union, Intersection, Complement)):
        for part in value.args:
            yield from _ends(part)
    elif isinstance(value, Relational):
        difference = _difference(value)
        at = [difference(x) for x in (S.Zero, S.One, Rational(7, 2))]
        slope = at[1] - at[0]
        if zero(slope) is False and zero(at[2] - at[0] - slope * Rational(7, 2)):
            yield canonical(-at[0] / slope)
    elif value not in (S.Reals, S.EmptySet):
        raise _NoRealSet


def _relations(value: Basic) -> bool:
    """Whether it is a list of inequalities: x < 1 or x > 3."""
    return isinstance(value, FiniteSet) and all(isinstance(part, (Relational, And)) for part in value.args)


def _contains(value: Basic, x: Expr) -> bool:
    if isinstance(value, Interval):
        low, high = _sign(x - _end(value.start)), _sign(x - _end(value.end))
        return (low >= (1 if value.left_open else 0)) and (high <= (-1 if value.right_open else 0))
    if isinstance(value, (Union, Or)) or _relations(value):
        return any(_contains(part, x) for part in value.args)
    if isinstance(value, FiniteSet):
        return any(_sign(x - _number(element)) == 0 for element in value.args)
    if isinstance(value, (Intersection, And)):
        return all(_contains(part, x) for part in value.args)
    if isinstance(value, Complement):
        return _contains(value.args[0], x) and not _contains(value.args[1], x)
    if isinstance(value, Relational):
        return _HOLDS[type(value)](_sign(_difference(value)(x)))
    if value in (S.Reals, S.EmptySet):
        return bool(value is S.Reals)
    raise _NoRealSet


def _difference(relation: Relational) -> Callable[[Expr], Expr]:
    """The left side less the right side, as a function of the only unknown."""
    if type(relation) not in _HOLDS or not all(isinstance(side, Expr) for side in relation.args):
        raise _NoRealSet
    for side in relation.args:
        check_size(side)
    difference = canonical(relation.lhs) - canonical(relation.rhs)
    if len(difference.free_symbols) != 1:
        raise _NoRealSet
    (unknown,) = difference.free_symbols
    return lambda x: difference.xreplace({unknown: x})


def _number(x: Basic) -> Expr:
    if not isinstance(x, Expr):
        raise _NoRealSet
    check_size(x)
    x = canonical(x)
    if x.free_symbols or not x.is_number:
        raise _NoRealSet
    return x


def _end(x: Expr) -> Expr:
    return canonical(x) if x.has(oo) else _number(x)


def _sign(x: Expr) -> int:
    if x in (oo, -oo):
        return 1 if x is oo else -1
    nothing = zero(x)
    value = x.evalf(15, maxn=1000)
    if nothing is None or not value.is_real:
        raise _NoRealSet
    return 0 if nothing else 1 if value > 0 else -1


def _tests(ends: list[Expr]) -> list[Expr]:
    """The ends, what lies beside and between them, and beyond."""
    values = [end.evalf(20) for end in ends]
    if not all(value.is_real for value in values):
        raise _NoRealSet
    near = [Rational(str(value)) for value in values]
    places = sorted(set(near))
    between = [(x + y) / 2 for x, y in zip(places, places[1:])]
    thirds = [x + (y - x) * Rational(2, 7) for x, y in zip(places, places[1:])]
    gap = min([y - x for x, y in zip(places, places[1:])] or [Rational(1)]) / 1000
    beside = [x + d for x in places for d in (-gap, gap)] if gap > Rational(1, 10**15) else []
    beyond = [places[0] - d for d in (1, 1000)] + [places[-1] + d for d in (1, 1000)]
    return [*ends, *between, *thirds, *beside, *beyond]
