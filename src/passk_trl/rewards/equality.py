"""Whether two answers are equal, by `math_verify`. It runs in the process that compares answers.

`math_verify` stops endless expressions with `signal.alarm`, which works in the main thread of a process only.
"""

from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, grader, parse, verify
from sympy import And, Set, Symbol
from sympy.core.relational import Relational

from .same_value import are_same_function, differ


PARSE_SECONDS = 5
VERIFY_SECONDS = 5

_IN_BOX = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
_IN_TEXT = [LatexExtractionConfig(), ExprExtractionConfig()]


def equality(answer: str, gold: str) -> float | None:
    """1 if the answers are equal, 0 if not or if the comparison takes too long, `None` if `gold` cannot be parsed."""
    gold_parsed = parsed(gold)
    if not gold_parsed:
        return None
    given = parsed(answer)
    # "x < 2" is the set of its solutions. "x^2 < 4" is not yet: it may be the question.
    as_set = bool(given) and isinstance(gold_parsed[0], Set) and _is_solved(given[0])
    return float(verify(gold_parsed, given, allow_set_relation_comp=as_set, timeout_seconds=VERIFY_SECONDS))


@lru_cache(maxsize=4096)
def parsed(text: str) -> list[Any]:
    """What `math_verify` reads in a text; an empty list if it reads nothing."""
    targets = _IN_BOX if text.startswith(r"\boxed") else _IN_TEXT
    return parse(text, targets, extraction_mode="first_match", parsing_timeout=PARSE_SECONDS)


def compare_carefully() -> None:
    """
    Lets `math_verify` compare numbers and formulas, within sets and matrices too, with [`differ`] and
    [`are_same_function`] besides. It changes the library in this process, which does nothing else.
    """
    numeric, symbolic = grader.sympy_numeric_eq, grader.sympy_symbolic_eq

    def careful_numeric(gold: Any, answer: Any, *settings: int) -> bool:
        return bool(numeric(gold, answer, *settings)) and not differ(gold, answer)

    def careful_symbolic(gold: Any, answer: Any) -> bool:
        return bool(symbolic(gold, answer)) or are_same_function(gold, answer)

    grader.sympy_numeric_eq, grader.sympy_symbolic_eq = careful_numeric, careful_symbolic


def _is_solved(relation: Any) -> bool:
    """Whether a relation compares one variable with numbers."""
    parts = relation.args if isinstance(relation, And) else [relation]
    if not all(isinstance(part, Relational) for part in parts) or len(relation.free_symbols) != 1:
        return False
    return all(isinstance(side, Symbol) or not side.free_symbols for part in parts for side in part.args)
