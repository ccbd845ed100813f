"""Unicode signs that have a plain spelling, so that `５ ｋｍ`, `½` and `−5` read like `5 km`, `1/2` and `-5`."""

import re
import unicodedata


_FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_SPACES = dict.fromkeys([0x00A0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
_QUOTES = {**dict.fromkeys(map(ord, "‘’‛´`′"), "'"), **dict.fromkeys(map(ord, "“”„″"), '"')}
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")
_NOT_SEEN = dict.fromkeys([0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF], None)
_SLASHES = dict.fromkeys(map(ord, "⁄∕"), "/")
_DOTS = dict.fromkeys(map(ord, "⋅∙"), "·")
_SIGNS = {**_DOTS, **_FULL_WIDTH, **_SLASHES, **_SPACES, **_QUOTES, **_DASHES, **_NOT_SEEN}

_FRACTIONS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_FRACTION = re.compile(rf"(?<=(\d))?([{_FRACTIONS}])")
_POWERS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_POWER = re.compile("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+")


def plain_signs(text: str) -> str:
    """
    A text with full-width letters and digits, spaces, quotes and dashes as ASCII has them. Fractions such as `2½`
    become `2 1/2`, and powers such as `m²` become `m^2`. Signs of no width are left out. Letters stay as they are.
    """
    text = _FRACTION.sub(_spelt, text.translate(_SIGNS))
    return _POWER.sub(lambda match: "^" + match.group().translate(_POWERS), text)


def plain_letters(text: str) -> str:
    """
    A text in lower case, in which letters that look the same are the same: NFKC after [`plain_signs`]. Accents stay.
    """
    return unicodedata.normalize("NFKC", plain_signs(text)).casefold()


def _spelt(fraction: re.Match[str]) -> str:
    numerator, denominator = unicodedata.normalize("NFKC", fraction[2]).split("\u2044")
    return f"{' ' if fraction[1] else ''}{numerator}/{denominator}"
