"""Spellings of numbers that `math_verify` misreads, in ones that it reads."""

import re
from decimal import Decimal

from .plain_text import plain_signs


_SPELLINGS = (
    (re.compile(r"(?<![\w)}])\*\*(?=\S)([^*\n]{1,200})(?<=\S)\*\*(?!\w)"), r"\1"),  # bold, and no power
    (re.compile(r"(?<=[\w)\]}])( ?)\*\*\1(-?\d{1,9}|[a-z]\b)"), r"^{\2}"),
    (re.compile(r"(?<=[\w)\]}])( ?)\*\*\1(?=[({])"), "^"),
    (re.compile(r"\\\$\s?|[€£¥₹]\s?"), ""),
    (re.compile(r"\b(?:minus|negative)\s(?=\.?\d)", re.IGNORECASE), "-"),
    (re.compile(r"(?:√|(?<![\\A-Za-z])sqrt)\s?(?:\(([^()]{1,99})\)|(\d{1,99}|[a-z]\b))"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi"),
    (re.compile("∞"), r"\\infty"),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"(?<=\d)\s?°(?:\s?[CF]\b)?"), ""),
    (re.compile(r"(?<=\d)\\[,;:!](?=\d{3}(?!\d))"), ""),  # a thin space
    (re.compile(r"^(?:=|≈|\\approx(?![A-Za-z]))\s*"), ""),
    (re.compile(r"(?<=\d)[.,;]$"), ""),
)
_MIXED = re.compile(r"(?<![\w./^])(\d{1,9}) (\d{1,9})/(\d{1,9})(?![\w/^]|\.\d)")
_SCIENTIFIC = re.compile(
    r"(?<![\w.^])(\d{1,30}(?:\.\d{1,30})?)(?:[eE]([+-]?\d{1,2})|\s?(?:\\times|\\cdot|[x×*])\s?10\^(?:\{(-?\d{1,2})\}|(-?\d)))"
    r"(?![\w^]|\.\d)"
)


def plain_math(text: str) -> str:
    r"""
    A text with mixed numbers (`2 1/2`) as fractions, scientific notation (`1.5e3`, `1.5\times10^3`) as decimals, and
    LaTeX in the place of `x**2`, `sqrt(2)`, `pi` and Unicode signs. Bold type, signs of money, degree signs, thin
    spaces within numbers, a sign of equality at the start and a point or comma at the end are left out.
    """
    text = plain_signs(text).strip()
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    text = _MIXED.sub(_improper, text)
    return _SCIENTIFIC.sub(lambda match: f"{Decimal('e'.join(filter(None, match.groups()))):f}", text)


def _improper(mixed: re.Match[str]) -> str:
    whole, numerator, denominator = map(int, mixed.groups())
    return f"{whole * denominator + numerator}/{denominator}" if numerator < denominator else mixed[0]
