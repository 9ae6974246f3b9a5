"""Sets of real numbers: intervals, unions, complements and inequalities."""

import pytest
from sympy import And, Complement, FiniteSet, Interval, Ne, S, Symbol, Union, oo, sqrt

from rewards.answers.real_sets import same_real_set

x, y = Symbol("x", real=True), Symbol("y", real=True)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (Interval.open(-oo, 3), x < 3, True),
        (Interval.open(-oo, 3), x <= 3, False),
        (Interval(sqrt(2), oo), x >= sqrt(2), True),
        (Interval.Lopen(1, 2), And(x > 1, x <= 2), True),
        (Interval.open(-2, 2), x**2 < 4, True),
        (Interval.open(-2, 2), x**2 < 5, False),
        (Complement(S.Reals, FiniteSet(1)), Ne(x, 1), True),
        (Complement(S.Reals, FiniteSet(1)), Union(Interval.open(-oo, 1), Interval.open(1, oo)), True),
        (Union(Interval(0, 1), Interval(1, 2)), Interval(0, 2), True),
        (Union(Interval(0, 1), Interval(2, 3), evaluate=False), Interval(0, 3), False),
        (x < 3, y < 3, False),
        (x + y < 3, Interval.open(-oo, 3), False),
        (S.Integers, Interval(0, 1), False),
    ],
)
def test_same_real_set(a, b, same):
    assert same_real_set(a, b) is same
    assert same_real_set(b, a) is same
