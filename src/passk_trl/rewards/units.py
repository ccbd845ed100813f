"""Units of measurement, as pint knows them, from the names and signs that answers use."""

import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

import pint


LONGEST = 60
"""Characters of the longest unit that is read."""

# What pint does not know: spellings, and money, each currency with a dimension of its own.
_SPELLINGS = {
    "amps": "ampere",
    "au": "au",
    "btu": "Btu",
    "celsius": "degC",
    "centigrade": "degC",
    "fahrenheit": "degF",
    "cm": "cm",
    "cms": "cm",
    "kg": "kg",
    "kgs": "kg",
    "kilos": "kg",
    "km": "km",
    "kmh": "km/h",
    "kmph": "km/h",
    "kms": "km",
    "mms": "mm",
    "pct": "percent",
    "ohm": "ohm",
    "sqft": "foot**2",
    "sqm": "meter**2",
    "hrs": "hour",
    "°": "degree",
    "°c": "degC",
    "°f": "degF",
    "′": "arcminute",
}
_CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_MONEY = (
    "USD = [money_usd] = _ = dollar = buck",
    "us_cent = USD / 100 = _ = cent",
    "EUR = [money_eur] = _ = euro",
    "GBP = [money_gbp] = _ = quid",
    "JPY = [money_jpy] = _ = yen",
    "INR = [money_inr] = _ = rupee",
)
_WORD = r"(?:°\s?[CF]\b|°|%|[$€£¥₹]|[A-Za-zµμΩÅ][A-Za-zµμΩÅ_-]*)"
_POWER = r"(?:\s?(?:\^|\*\*)\s?-?[1-9](?!\d)|[23](?![\d.]))"
_FACTOR = rf"(?:(?:square|cubic|sq\.?|cu\.?)\s)?{_WORD}{_POWER}?"
UNIT = rf"{_FACTOR}(?:(?:\s?[/·*]\s?|\sper\s|\s|-){_FACTOR}){{0,3}}"
"""A regular expression for what may be a unit: up to four words or signs, with powers, products and quotients."""

# Words after a number that pint takes for units, such as years, technical atmospheres, ares and attoseconds. "A" alone
# is the ampere.
_NO_UNITS = {
    *("a", "am", "are", "as", "at", "bags", "cats", "chains", "dots", "e", "hands", "has", "he", "links", "me", "pi"),
    *("pins", "points", "units", "us"),
}

_NAMES = re.compile(r"[A-Za-z]{4,}")  # no symbols: their case may be capital
_THE_WORD_IN = re.compile(r"(?<!square)(?<!cubic)(?<!per)\sin\b")  # and no inch: "20 minutes in all"


def longest_unit(text: str) -> tuple[pint.Unit, int] | None:
    """The unit that a text begins with, as long as can be read, and its length; `None` if it begins with none."""
    found = re.match(UNIT, text[:LONGEST])
    end = found.end() if found else 0
    while end > 0:
        if (unit := unit_of(text[:end])) is not None:
            return unit, end
        end = max((match.start() for match in re.finditer(r"[\s/·*^-]+", text[:end])), default=0)
    return None


@lru_cache(maxsize=4096)
def unit_of(text: str) -> pint.Unit | None:
    """The unit with this name or sign, or `None`. Its letters' case counts where it must: `mW` is not `MW`."""
    spelt = _spelt(text)
    if spelt is None:
        return None
    for name in (spelt, _NAMES.sub(lambda match: match[0].lower(), spelt)):
        with suppress(Exception):  # pint raises errors of many kinds on what is no unit
            return registry().parse_units(name)
    return None


@lru_cache(maxsize=1)
def registry() -> Any:
    """pint's units, and those of money."""
    units: Any = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    for definition in _MONEY:
        units.define(definition)
    return units


def _spelt(text: str) -> str | None:
    """A unit as pint spells it; `None` if it is a word of the sentence."""
    text = re.sub(r"(?:degrees?|deg\.?)\s(?=[CF]\b|[Cc]elsius|[Ff]ahrenheit)", "°", text.strip())
    text = re.sub(r"light[ -]years?", "light_year", re.sub(r"°\s?", "°", text))
    text = re.sub(r"°(?=[Cc]elsius|[Ff]ahrenheit)", "", text).replace("·", "*").replace("^", "**")
    text = re.sub(r"\b(sq|cu)\.?\s", lambda match: {"sq": "square ", "cu": "cubic "}[match[1]], text)
    words = re.findall(r"[°%$€£¥₹]+[A-Za-z]*|[A-Za-zµμΩÅ_]+(?:-[A-Za-zµμΩÅ_]+)*|[^A-Za-zµμΩÅ_°%$€£¥₹]+", text)
    if any(word != "A" and word.lower() in _NO_UNITS for word in words) or _THE_WORD_IN.search(text):
        return None
    spelt = [_CURRENCIES.get(word) or _SPELLINGS.get(word.lower()) or word for word in words]
    joined = re.sub(r"(?<!\*)-", "*", "".join(spelt))
    return re.sub(r"(?<=[A-Za-z])([23])\b", r"**\1", joined)
