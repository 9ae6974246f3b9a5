"""Exact numbers and bounds, against Python's own fractions."""

from fractions import Fraction
from math import factorial

import pytest
from sympy import Add, Float, Mul, Pow, Rational, Symbol, cos, exp, log, pi, sin, sqrt
from sympy import factorial as factorial_of

from rewards.answers.numbers import TooLarge, canonical, check_size, exact, same_function, zero

x, y = Symbol("x"), Symbol("y")


def power(a, b):
    return Pow(a, b, evaluate=False)


@pytest.mark.parametrize(
    ("value", "fraction"),
    [
        (Rational(2, 3), Fraction(2, 3)),
        (Float("0.1"), Fraction(1, 10)),
        (Float("18.90"), Fraction(189, 10)),
        (power(2, -99), Fraction(1, 2**99)),
        (power(Rational(9, 4), Rational(3, 2)), Fraction(27, 8)),
        (Add(1, power(2, 2005), evaluate=False), Fraction(2**2005 + 1)),
        (Mul(2, power(factorial_of(5, evaluate=False), -1), evaluate=False), Fraction(2, factorial(5))),
        (power(2, Rational(1, 2)), None),
        (power(0, -1), None),
        (pi, None),
        (x, None),
    ],
)
def test_exact(value, fraction):
    assert exact(value) == fraction


@pytest.mark.parametrize(
    "value",
    [power(9, power(9, 9)), factorial_of(10**6, evaluate=False), power(power(2, 10**5), 10**5), Float("1e100000")],
)
def test_what_is_too_large_is_refused_before_it_is_computed(value):
    with pytest.raises(TooLarge):
        check_size(value)


def test_exponentials_of_exponentials_are_refused():
    with pytest.raises(TooLarge):
        check_size(exp(exp(exp(100, evaluate=False), evaluate=False), evaluate=False))
    assert check_size(exp(x)) > 0


def test_zero():
    assert zero(sqrt(5 + 2 * sqrt(6)) - sqrt(2) - sqrt(3)) is True
    assert zero(sqrt(10**100 + 1) - 10**50) is False
    assert zero(exp(-1000)) is False
    assert zero(cos(pi / 7) - cos(2 * pi / 7) + cos(3 * pi / 7) - Rational(1, 2)) is True


def test_canonical():
    assert canonical(Float("0.5") * Symbol("X", real=True)) == Rational(1, 2) * Symbol("X")
    assert canonical(Symbol("e", real=True)) == exp(1)
    assert canonical(Symbol("i")) ** 2 == -1


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ((x + y) ** 2, x**2 + 2 * x * y + y**2, True),
        (sin(x) ** 2 + cos(x) ** 2, Rational(1), True),
        (log(x**2), 2 * log(x), True),  # where both are real
        (sqrt(x**2), x, False),
        (x / x, Rational(1), True),
        (x + y, x - y, False),
        (x, y, False),
    ],
)
def test_same_function(a, b, same):
    assert same_function(a, b) is same
