"""Numbers with units, read in a text."""

import math
import re
from dataclasses import dataclass
from typing import Any

from .plain_text import plain_signs
from .units import longest_unit, registry, unit_of


_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)"
# What follows a number that is a part of something else, such as of a time, a version, a power or a multiple of π.
_GOES_ON = r"(?!\d|(?:[.,:/]|\.{2,9})\d|\s?±|(?:\^|\*\*)[-+({]?\w|\s?\*?\s?(?:\\pi\b|π|\\sqrt|√))"
_NUMBER = re.compile(
    r"(?<![\w.,^/:{√±<≤≥])(?<![±<≤≥]\s)(?P<sign>[+-]\s?)?(?P<money>[$€£¥₹]\s?)?"
    r"(?:(?P<whole>\d+)[ ](?P<part>\d+/\d+)|(?P<fraction>\d+/\d+)|10(?:\^|\*\*)(?P<ten>-?\d+)"
    rf"|(?P<decimal>{_INTEGER}(?:\.\d+)?|\.\d+)"
    r"(?:e(?P<exponent>[+-]?\d+)\b|\s?[x*×]\s?10(?:\^|\*\*)(?P<power>-?\d+))?)"
    rf"{_GOES_ON}(?:\s?(?P<scale>thousand|million|billion|trillion)\b)?",
    re.IGNORECASE,
)
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_MOST = 12  # numbers that are read in a text: looking up units takes time
# What stands between two quantities that are given as one answer, or as two.
_AND = re.compile(r"\s*,?\s*(?:and\s)?\s*")
_WORD = r"(?:(?:or|to|and|not|vs|\\[a-z]+)\b)?"
_OR_IN_ANSWER = re.compile(rf"[^\w\n]*{_WORD}[^\w\n]*")
_OR_IN_TEXT = re.compile(rf"[\s()~≈/+&|*×÷±-]*{_WORD}[\s(~≈]*")  # where a comma may divide two clauses

_LATEX = (
    (re.compile(r"(?<![\w)*])\*\*(?=\S)|(?<=\S)\*\*(?![\w({-])"), ""),  # bold, and no power
    (re.compile(r"(?<![\\\w$])\${1,2}(?=[^\s$])((?:\\\$|[^$\n]){1,200})(?<=\S)\${1,2}(?!\d)"), r"\1"),  # as in pandoc
    (re.compile(r"\\[()\[\]{}]"), ""),
    (re.compile(r"\\pm(?![A-Za-z])"), "±"),
    (re.compile(r"\\[lg]eq?(?![A-Za-z])"), "≤"),
    (re.compile(r"\\[dt]?frac\s?\{(-?\d+)\}\s?\{(\d+)\}|\\[dt]?frac(\d)(\d)"), r" \1\3/\2\4"),
    (re.compile(r"\\[dt]?frac\s?\{([A-Za-z][^{}]{0,40})\}\s?\{([A-Za-z][^{}]{0,40})\}"), r" \1/\2"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "*"),
    (re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\degrees?\b|º"), "°"),
    (re.compile("℃"), "°C"),
    (re.compile(r"\\mu\s?"), "µ"),
    (re.compile(r"\\Omega\b"), "Ω"),
    (re.compile(r"\\approx\b"), "="),
    (re.compile(r"\\(?:[,;:! ]|q?quad(?![A-Za-z]))|~"), " "),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\b(?:minus|negative)\s(?=[$€£¥₹]?\.?\d)", re.IGNORECASE), "-"),
    (re.compile(r"([$€£¥₹])\s?-(?=\.?\d)"), r"-\1"),
    (re.compile(r"\bUS\s?(?=\$)"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\{(-?\d+)\}"), r"^\1"),
    (re.compile(r"(?<=\d) (?=\d{3}\b(?!/))"), ""),
    (re.compile(r"(?<=\d)'\s?(?=\d+\s?\")"), " ft "),
    (re.compile(r"(?<=\d)\s?\""), " in"),
    (re.compile(r"\b(ft|hrs?|lbs?|mins?|yds?)\.(?=\s?\d)"), r"\1"),
    (re.compile(r"[ \t]{2,}"), " "),
)


@dataclass(frozen=True)
class Quantity:
    """A number and its unit, or `None` for a bare number; where it ends in the text that was read."""

    value: float
    unit: Any
    end: int

    def in_unit(self, unit: Any) -> float | None:
        """The number in another unit; `None` if that has another dimension."""
        try:
            return float(registry().Quantity(self.value, self.unit or "").to(unit or "").magnitude)
        except Exception:  # pint raises errors of many kinds: other dimensions, overflow, offset units
            return None


def quantities(text: str, last: bool = False) -> list[list[Quantity]]:
    """
    The quantities of a text that [`plain_latex`] gave, in groups of those that are given together, such as `5 km or
    6 km`. Parts of one quantity, such as `2 h 30 min`, are added. Only the first numbers of a text are read, or the
    `last` ones.
    """
    alternative = _OR_IN_TEXT if last else _OR_IN_ANSWER
    groups: list[list[Quantity]] = []
    end = 0
    matches = list(_NUMBER.finditer(text))
    for match in matches[-_MOST:] if last else matches[:_MOST]:
        if match.start() < end:  # within the unit of the last one
            continue
        quantity, between = _quantity(match, text), text[end : match.start()]
        beside = bool(groups) and len(between) < 40
        if beside and _AND.fullmatch(between) and (whole := _sum(groups[-1][-1], quantity)):
            groups[-1][-1] = whole
        elif beside and alternative.fullmatch(between):
            groups[-1].append(quantity)
        else:
            groups.append([quantity])
        end = quantity.end
    return groups


def plain_latex(text: str) -> str:
    """A text with plain signs in the place of those of Unicode and LaTeX."""
    text = plain_signs(text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return text


def _quantity(match: re.Match[str], text: str) -> Quantity:
    end = match.end()
    if match["money"]:
        return Quantity(_value(match), unit_of(match["money"].strip()), end)
    gap = len(re.match(r"[ -]?", text[end : end + 1])[0])  # type: ignore[index]
    unit, length = longest_unit(text[end + gap :][:100]) or (None, 0)
    return Quantity(_value(match), unit, end + gap + length if length else end)


def _value(match: re.Match[str]) -> float:
    if match["decimal"]:
        exponent = match["exponent"] or match["power"] or "0"
        value = float(f"{match['decimal'].replace(',', '')}e{exponent}")  # infinite where it is too large
    elif match["ten"]:
        value = float(f"1e{match['ten']}")
    else:
        value = float(match["whole"] or 0) + _ratio(match["part"] or match["fraction"])
    sign = -1 if (match["sign"] or "").startswith("-") else 1
    return sign * value * _SCALES.get((match["scale"] or "").lower(), 1)


def _ratio(text: str) -> float:
    numerator, denominator = map(float, text.split("/"))
    return numerator / denominator if denominator else math.nan


def _sum(first: Quantity, second: Quantity) -> Quantity | None:
    """One quantity of two parts, the second of which is less than one of the first part's unit, in the second unit."""
    if first.unit is None or second.unit is None or first.unit == second.unit or not _is_whole(first.value):
        return None
    part, whole = second.in_unit(first.unit), first.in_unit(second.unit)
    if part is None or whole is None or not 0 <= part < 1:
        return None
    return Quantity(whole + math.copysign(second.value, first.value), second.unit, second.end)


def _is_whole(value: float) -> bool:
    return math.isfinite(value) and math.isclose(value, round(value), rel_tol=1e-12)
