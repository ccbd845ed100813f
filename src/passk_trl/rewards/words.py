"""Answers in words, such as `Monday` or `no solution`: they are compared as words, for they are no mathematics."""

import re
from functools import lru_cache

from .completions import last_boxed
from .final_answer import FinalAnswer, without_commands
from .short_answer import normalized


MOST = 6
"""Words of an answer. More are a sentence or a proof, which no completion repeats by the letter."""

_MATH = re.compile(r"[\\$#0-9=<>+*/^_{}|]")
# Words of two letters are named: others, such as "xy", are products of variables.
_WORD = re.compile(r"[^\W\d_]{3,}|\b(?:no|yes|up|on|by|if|it|is|we|he)\b", re.IGNORECASE)
_FUNCTION = re.compile(
    r"\b(?:pi|infty|infinity|sqrt|(?:arc|a)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|exp|lim|max|min|gcd|lcm|floor|ceil)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?:\W|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|and)+",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def words_of(gold: str) -> str | None:
    """
    A gold answer in words, in its normal form; `None` if it is mathematics, also a number in words, or longer than
    [`MOST`] words.
    """
    if gold.strip().startswith("$") and "\\text" not in gold:  # $abc$ is a product
        return None
    boxed = last_boxed(gold)
    text = without_commands((gold if boxed is None else boxed).replace("~", " ").strip().strip("$"))
    if _MATH.search(text) or not _WORD.search(text) or _FUNCTION.search(text) or _NUMBER.fullmatch(text):
        return None
    words = normalized(text)
    return words if 0 < len(words.split()) <= MOST else None


def says(answer: FinalAnswer, words: str) -> bool:
    """
    Whether an answer is these words. One that is named as the answer may give its reason after them. A list, such as
    "Monday, Tuesday", is another answer.
    """
    given = answer.text.strip().strip("$")
    parts = [given, *(re.split(r"\.\s|,?\s(?:because|since|as)\s", given)[:1] if answer.named else [])]
    return words in map(normalized, parts)
