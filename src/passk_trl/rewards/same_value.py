"""Whether two numbers differ, however little, and whether two formulas are the same real function."""

from decimal import Decimal
from itertools import product
from typing import Any

from sympy import Dummy, Expr, Float, I, Rational, UnevaluatedExpr, im, re, simplify


_SIX_DIGITS = 5e-6  # of a number, the most by which rounding to six digits changes it
_POINTS = (0.7, 1.9, 2.6, 3.3)
_NEAR = 1e-9


def differ(first: Any, second: Any) -> bool:
    """
    Whether two numbers are known to differ. A decimal is the same as what it is rounded from, if it has six digits or
    more; other numbers are only the same if they are equal.

    `math_verify` compares absolutely, to six decimals: for it, 1/2^98 is 1/2^99.
    """
    if not all(isinstance(each, Expr) and not each.free_symbols for each in (first, second)):
        return False
    if first.has(UnevaluatedExpr) or second.has(UnevaluatedExpr):  # a percentage: 50% is 50
        return False
    difference = (_exact(first) - _exact(second)).doit()
    decimals = [_decimals(each) for each in (first, second) if isinstance(each, Float)]
    if not decimals:
        return difference.equals(0) is False
    size, off = (abs(each.evalf(30)) for each in (_exact(first), difference))
    return bool(off > 1.001 * Rational(1, 2) * Rational(10) ** -min(decimals) or off > _SIX_DIGITS * size)


def are_same_function(first: Any, second: Any) -> bool:
    """
    Whether two formulas are the same real function of their variables: equal where the variables are positive, and for
    other signs either equal too or neither of them real. So 1/√n is √(1/n), but √(x²) is not x.
    """
    if not all(isinstance(each, Expr) and not each.has(I, Float) for each in (first, second)):
        return False
    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    if not symbols or len(symbols) > len(_POINTS) or first.free_symbols != second.free_symbols:
        return False
    positive = {symbol: Dummy(symbol.name, positive=True) for symbol in symbols}
    if simplify(first.subs(positive).doit() - second.subs(positive).doit()) != 0:
        return False
    for signs in product((1, -1), repeat=len(symbols)):
        point = {symbol: sign * at for symbol, sign, at in zip(symbols, signs, _POINTS, strict=False)}
        one, other = _real(first.subs(point)), _real(second.subs(point))
        if (one is None) != (other is None):
            return False
        if one is not None and other is not None and abs(one - other) > _NEAR * max(1.0, abs(one)):
            return False
    return True


def _exact(number: Expr) -> Expr:
    """A number with its decimals as fractions."""
    return number.replace(lambda part: isinstance(part, Float), lambda part: Rational(str(part)))


def _decimals(number: Float) -> int:
    """How many decimals a number is written with."""
    exponent = Decimal(str(number)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _real(number: Expr) -> float | None:
    """The value of a number, or `None` if it is not real."""
    value = number.evalf()
    real, imaginary = float(re(value)), float(im(value))
    return real if abs(imaginary) < _NEAR else None
