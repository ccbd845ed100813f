"""Numbers that differ, however little, and formulas that are the same real function."""

import pytest
from sympy import E, Float, Rational, exp, log, pi, sqrt, symbols

from passk_trl.rewards.same_value import are_same_function, differ


x, y = symbols("x y")


@pytest.mark.parametrize(
    ("first", "second", "different"),
    [
        (Rational(1, 2**98), Rational(1, 2**99), True),
        (exp(-100), 1 / E**100, False),
        (exp(-100), exp(-99), True),
        (pi * Rational(1, 10**30), Rational(3, 10**30), True),
        (Float("0.333333"), Rational(1, 3), False),
        (Float("0.012346"), Rational(1, 81), True),  # five digits
        (Float("0.333333"), Float("0.33333333"), False),
        (Float("0.1234567"), Float("0.1234568"), True),
        (Float("2e-20"), Float("2.4e-20"), True),
        (Float("1000000.0000001"), Float("1000000.0000002"), True),
        (Float("4.123105625617661"), sqrt(17), False),
        (Float("0.0"), Rational(0), False),
        (sqrt(2) * sqrt(3) - sqrt(6), Rational(0), False),
        (x, x + Rational(1, 10**30), False),  # no numbers
    ],
)
def test_numbers_that_differ(first, second, different):
    assert differ(first, second) is different
    assert differ(second, first) is different


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (1 / sqrt(x), sqrt(1 / x), True),
        (sqrt(x**2), x, False),
        (sqrt(x**2), abs(x), True),
        (log(x**2), 2 * log(x), False),
        (sqrt(x / y) * y, sqrt(x * y), False),
        (x, y, False),
        (x + 1, x + 2, False),
        (sqrt(2), Rational(7, 5), False),
    ],
)
def test_the_same_real_function(first, second, same):
    assert are_same_function(first, second) is same
    assert are_same_function(second, first) is same
