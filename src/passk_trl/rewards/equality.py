"""Whether two answers are equal, by `math_verify`. It runs in the main thread only.

`math_verify` stops endless expressions with `signal.alarm`, which works in the main thread of a process only.
"""

from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify


PARSE_SECONDS = 5
VERIFY_SECONDS = 5

_IN_BOX = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
_IN_TEXT = [LatexExtractionConfig(), ExprExtractionConfig()]


def equality(answer: str, gold: str) -> float | None:
    """1 if the answers are equal, 0 if not or if the comparison takes too long, `None` if `gold` cannot be parsed."""
    gold_parsed = parsed(gold)
    if not gold_parsed:
        return None
    return float(verify(gold_parsed, parsed(answer), timeout_seconds=VERIFY_SECONDS))


@lru_cache(maxsize=4096)
def parsed(text: str) -> list[Any]:
    """What `math_verify` reads in a text; an empty list if it reads nothing."""
    targets = _IN_BOX if text.startswith(r"\boxed") else _IN_TEXT
    return parse(text, targets, extraction_mode="first_match", parsing_timeout=PARSE_SECONDS)
