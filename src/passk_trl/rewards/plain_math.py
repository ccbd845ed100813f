"""Spellings of numbers that `math_verify` misreads, in ones that it reads."""

import re
from decimal import Decimal

from .plain_text import plain_signs


_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_DOLLAR = re.compile(r"\\\$\s?")
_EMPTY_SET = re.compile(r"\\varnothing(?![A-Za-z])")
_DEGREES = re.compile(r"(?<=\d)\s?°(?:\s?[CF]\b)?")
_THIN_SPACE = re.compile(r"(?<=\d)\\[,;:!](?=\d{3}(?!\d))")
_LAST_POINT = re.compile(r"(?<=\d)\.$")
_MIXED = re.compile(r"(?<![\w./^])(\d{1,9}) (\d{1,9})/(\d{1,9})(?![\w/^]|\.\d)")
_SCIENTIFIC = re.compile(
    r"(?<![\w.^])(\d{1,30}(?:\.\d{1,30})?)(?:[eE]([+-]?\d{1,2})|\s?(?:\\times|\\cdot|[x×*])\s?10\^(?:\{(-?\d{1,2})\}|(-?\d)))"
    r"(?![\w^]|\.\d)"
)


def plain_math(text: str) -> str:
    r"""
    A text with mixed numbers (`2 1/2`) as fractions, scientific notation (`1.5e3`, `1.5\times10^3`) as decimals, and
    ASCII in the place of Unicode signs. Bold type, `\$`, degree signs, thin spaces within numbers and a point at the
    end are left out.
    """
    text = _BOLD.sub(r"\1", plain_signs(text).strip())
    text = _EMPTY_SET.sub(r"\\emptyset", _DOLLAR.sub("", text).replace("∞", r"\infty"))
    text = _LAST_POINT.sub("", _THIN_SPACE.sub("", _DEGREES.sub("", text)))
    text = _MIXED.sub(_improper, text)
    return _SCIENTIFIC.sub(lambda match: f"{Decimal('e'.join(filter(None, match.groups()))):f}", text)


def _improper(mixed: re.Match[str]) -> str:
    whole, numerator, denominator = map(int, mixed.groups())
    return f"{whole * denominator + numerator}/{denominator}" if numerator < denominator else mixed[0]
