"""Answers in words, such as `Monday` or `no solution`: they are compared as words, for they are no mathematics."""

import re
from functools import lru_cache

from .completions import last_boxed
from .final_answer import FinalAnswer, without_commands
from .short_answer import normalized


MOST = 6
"""Words of an answer. More are a sentence or a proof, which no completion repeats by the letter."""

_MATH = re.compile(r"[\\$#0-9=<>+*/^_{}|]")
# Product of variables, such as "xy", have fewer letters. Two-letter words are named.
_WORD = re.compile(r"[^\W\d_]{3,}|\b(?:no|yes|up|on|by|if|it|is|we|he)\b", re.IGNORECASE)
_FORMULAS = re.compile(r"\W*(?:pi|infty|infinity|sqrt|sin|cos|tan|log|exp|lim|max|min)\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def words_of(gold: str) -> str | None:
    """A gold answer in words, in its normal form; `None` if it is mathematics, or longer than [`MOST`] words."""
    boxed = last_boxed(gold)
    text = without_commands((gold if boxed is None else boxed).replace("~", " ").strip().strip("$"))
    if _MATH.search(text) or not _WORD.search(text) or _FORMULAS.match(text):
        return None
    words = normalized(text)
    return words if 0 < len(words.split()) <= MOST else None


def says(answer: FinalAnswer, words: str) -> bool:
    """Whether an answer is these words. One that is named as the answer may give its reason after them."""
    given = answer.text.strip().strip("$")
    parts = [given, *(re.split(r"[.;:,]\s|\s(?:because|since|as)\s", given)[:1] if answer.named else [])]
    return words in map(normalized, parts)
