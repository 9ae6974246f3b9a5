"""Numbers: exact where they are rational, and to many digits where they are not; nothing that takes for ever.

Every size is bounded before it is computed, so that no clock decides what is equal.
"""

from __future__ import annotations

import math
from fractions import Fraction

from sympy import (
    Add,
    Basic,
    Derivative,
    E,
    Expr,
    Float,
    I,
    Integer,
    Integral,
    Limit,
    Mul,
    Pow,
    Product,
    Rational,
    Sum,
    Symbol,
    UnevaluatedExpr,
    exp,
    factorial,
    gamma,
    log,
    nan,
    oo,
    pi,
    zoo,
)
from sympy.core.function import AppliedUndef

BITS = 200_000  # of a numerator or denominator; 2^{2005} and 2004! (19,000 bits) fit
EXPONENT = 2.0**26  # bits before or after the binary point of what is evaluated to some digits
_ROWS = 6  # points at which expressions with variables are compared
DIGITS = 1000  # to which two irrational numbers have to agree


class TooLarge(Exception):
    """A number with more than BITS bits."""


def exact(value: Basic) -> Fraction | None:
    """A rational number that an unevaluated expression is, None where it is none or not seen to be one.

    Raises:
        TooLarge: it or a part of it would have more than BITS bits.
    """
    if isinstance(value, Float):
        return _of_float(value)
    if isinstance(value, Rational):
        return _checked(Fraction(int(value.p), int(value.q))) if value.q else None
    if isinstance(value, UnevaluatedExpr):
        return exact(value.args[0])
    if isinstance(value, (Add, Mul)):
        return _of_terms(value)
    if isinstance(value, Pow):
        return _of_power(value)
    if isinstance(value, factorial):
        n = exact(value.args[0])
        if n is None or n.denominator != 1 or n < 0:
            return None
        if n * math.log2(int(n) + 2) > BITS:
            raise TooLarge
        return Fraction(math.factorial(int(n)))
    return None


def _of_float(value: Float) -> Fraction | None:
    """The decimal that was written: a Float keeps as many digits as there were."""
    if not value.is_finite:
        return None
    if value and abs(int(value._mpf_[2]) + int(value._mpf_[3])) > BITS:
        raise TooLarge
    return Fraction(str(value))


def _of_terms(value: Add | Mul) -> Fraction | None:
    total = Fraction(isinstance(value, Mul))
    for term in value.args:
        x = exact(term)
        if x is None:
            return None
        total = _checked(total * x if isinstance(value, Mul) else total + x)
    return total


def _of_power(value: Pow) -> Fraction | None:
    base, power = exact(value.base), exact(value.exp)
    if base is None or power is None or (base == 0 and power <= 0):
        return None
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and bits * abs(power) > BITS:
        raise TooLarge
    if power.denominator == 1:
        return base ** int(power) if abs(base) != 1 else base ** (int(power) % 2)
    if base < 0 or power.denominator > 64:
        return None
    numerator, denominator = (_root(part, power.denominator) for part in (base.numerator, base.denominator))
    return None if numerator is None or denominator is None else Fraction(numerator, denominator) ** power.numerator


def _root(n: int, k: int) -> int | None:
    """The k-th root of n, None where that is no integer."""
    low, high = 0, 1 << (n.bit_length() // k + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**k <= n else (low, middle - 1)
    return low if low**k == n else None


def _checked(x: Fraction) -> Fraction:
    if x.numerator.bit_length() > BITS or x.denominator.bit_length() > BITS:
        raise TooLarge
    return x


def check_size(value: Basic) -> float:
    """Roughly the greatest size that an expression has at the points, as bits before or after its binary point.

    Raises:
        TooLarge: it, or something in it, has too many to be evaluated; a rational one, to be exact.
    """
    if isinstance(value, (Integer, Rational, Float)):
        exact(value)
        return float(int(value._mpf_[3]) + abs(int(value._mpf_[2]))) if isinstance(value, Float) else _bits(value)
    sizes = [check_size(part) for part in value.args]
    if isinstance(value, Pow):
        exact(value)
        size = max(sizes[0], 1.0) * 2.0 ** min(sizes[1], 64.0)
        power = exact(value.exp)
        size = size if power is None else max(sizes[0], 1.0) * max(abs(float(power)), 1.0)
    elif isinstance(value, exp):
        size = 2.0 ** min(sizes[0], 64.0) * 1.5
    elif isinstance(value, (factorial, gamma)):
        exact(value)
        size = 2.0 ** min(sizes[0], 64.0) * max(sizes[0], 1.0)
    elif isinstance(value, Mul):
        size = sum(sizes)
    else:
        size = max(sizes, default=3.0) + len(sizes)
    if size > EXPONENT:
        raise TooLarge
    return size


def _bits(value: Rational) -> float:
    return float(max(int(value.p).bit_length(), int(value.q).bit_length()))


def canonical(value: Expr) -> Expr:
    """A scalar with decimals as fractions, one symbol a name, and e and i as the numbers that they are.

    A function that is not known (``f(x)``) is a symbol of its own.
    """
    replaced: dict[Basic, Basic] = {}
    for part in value.atoms(Float, Symbol, AppliedUndef, UnevaluatedExpr):
        if isinstance(part, Float):
            decimal = _of_float(part)
            replaced[part] = part if decimal is None else Rational(decimal.numerator, decimal.denominator)
        elif isinstance(part, AppliedUndef):
            replaced[part] = Symbol(str(part).lower())
        elif isinstance(part, UnevaluatedExpr):
            replaced[part] = part.args[0]
        else:
            replaced[part] = {"e": E, "i": I, "pi": pi}.get(part.name.lower()) or Symbol(part.name)
    # a logarithm to a base, which sympy would leave as it is
    return value.xreplace(replaced).replace(
        lambda part: isinstance(part, log) and len(part.args) == 2, lambda part: log(part.args[0]) / log(part.args[1])
    )


def zero(value: Expr) -> bool | None:
    """Whether a canonical number is zero: to DIGITS digits, where it is no rational; None if that cannot be said."""
    rational = exact(value)
    if rational is not None:
        return rational == 0
    found = value.evalf(15, maxn=DIGITS, chop=False)
    parts = found.as_real_imag()
    if not all(part.is_Float or part.is_Rational for part in parts):
        return None
    # what cancels to all digits is left with a precision of one bit
    return all(part == 0 or getattr(part, "_prec", 53) <= 1 for part in parts)


def same_function(a: Expr, b: Expr) -> bool:
    """Whether two canonical expressions have equal values wherever both are real, as far as the points show.

    That two different expressions agree at them all is as good as impossible. Where one is not real, as
    log(x) is below zero, the other may differ. At two points at least there has to be a value.
    """
    if a.has(Sum, Product, Integral, Limit, Derivative) or b.has(Sum, Product, Integral, Limit, Derivative):
        return bool(a == b)
    names, agreed = sorted(a.free_symbols | b.free_symbols, key=str), 0
    for row in range(_ROWS):
        at = {symbol: _point(row, column) for column, symbol in enumerate(names)}
        values = [x.evalf(30, subs=at, maxn=200) for x in (a, b)]
        if any(x.has(nan, zoo, oo) or x.free_symbols or not x.is_number for x in values):
            continue
        difference = zero_at(a - b, at)
        if difference:
            agreed += 1
        elif difference is False and all(x.is_real for x in values):
            return False
    return agreed >= 2


def zero_at(value: Expr, at: dict[Basic, Basic]) -> bool | None:
    """`zero`, to fewer digits, of an expression at a point."""
    parts = value.evalf(15, subs=at, maxn=200).as_real_imag()
    if not all(part.is_Float or part.is_Rational for part in parts):
        return None
    return all(part == 0 or getattr(part, "_prec", 53) <= 1 for part in parts)


def _point(row: int, column: int) -> Rational:
    """A variable's value: between 0.1 and 10, below zero in the last rows, no two alike."""
    sign = -1 if row >= _ROWS - 2 and (row + column) % 2 else 1
    return sign * Rational(17 + 40 * row + 31 * column, 11 + 29 * ((row * 7 + column * 3) % 5))
