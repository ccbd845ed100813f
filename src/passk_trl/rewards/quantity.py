"""Quantities: an answer is right if it is the gold quantity, in whatever unit of its dimension."""

import math
import re
from functools import lru_cache
from typing import Any

from .completions import Completion
from .final_answer import final_answer
from .quantities import Quantity, plain_latex, quantities


RELATIVE_TOLERANCE = 1e-4
"""How far an answer may be from the gold number, as a share of it. For 5 miles, 8.0467 km passes; 8.05 km does not."""

_EQUALS = re.compile(r"[=≈]")
_REASON = re.compile(r"[,;]?\s(?:because|since|as|so|which)\b|;(?!\s?\W?\d)|\.\s(?=[A-Z])")


def quantity_reward(
    completions: list[Completion],
    solution: list[Any],
    relative_tolerance: float = RELATIVE_TOLERANCE,
    **kwargs: Any,
) -> list[float | None]:
    r"""
    1 for a completion whose answer is the gold quantity, 0 for any other: `3500 m` for `3.5 km`.

    The answer is the first quantity in the last `\boxed{}`; without a box, in the rest of the line after the last
    "answer is" or "Answer:"; without either, the last quantity of the text. Where there is an `<answer>…</answer>`,
    what is in it is the text. Of a box or a line, only the first sentence up to a word such as "because" is read, from
    its last `=` on. If several quantities are given together ("5 km or 6 km", "3 to 5 km"), all must be right.

    Numbers may be `1,200`, `-0.5`, `1.5e3`, `1.5 × 10^3`, `3/4`, `2 1/2`, `2½`, `\frac{3}{4}` or `2 million`. A comma
    separates thousands and nothing else. Units are those of pint, by name or symbol, and `$`, `€`, `£`, `¥` and `₹`.
    `2 h 30 min` is one quantity.

    A gold answer without a unit accepts an answer with any unit or none: its number counts, or its value if it is a
    percentage. A gold answer with a unit needs a unit of its dimension.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the policy's last message is judged.
        solution (`list[str]` or `list[float]`):
            Gold quantity of each completion.
        relative_tolerance (`float`, *optional*, defaults to `1e-4`):
            How far an answer may be from the gold number, as a share of it. For another one, write a function that
            calls this one and name it in `reward_funcs`.
        **kwargs:
            Other arguments that TRL passes to a reward function. Not used.

    Returns:
        `list[float | None]`: One reward per completion. It is `None` where the gold answer is not one quantity with a
        known unit.

    Raises:
        `ValueError`: If a gold answer is neither a string nor a number.

    Example:
        ```python
        >>> quantity_reward(["It is 3500 m.", r"\boxed{3.5}", "Answer: 77 °F"], ["3.5 km", "3.5 km", "25 °C"])
        [1.0, 0.0, 1.0]
        ```
    """
    return [
        _match(completion, gold, relative_tolerance) for completion, gold in zip(completions, solution, strict=True)
    ]


@lru_cache(maxsize=4096)
def gold_quantity(gold: str) -> Quantity | None:
    """The quantity that a gold answer is, or `None` if it is none, or has words that are no known unit."""
    text = _after_equals(plain_latex(final_answer(gold).text))
    groups = quantities(text)
    if len(groups) != 1 or len(groups[0]) != 1 or not math.isfinite(groups[0][0].value):
        return None
    after = text[groups[0][0].end :]
    return None if re.search(r"\w", after) else groups[0][0]


def _match(completion: Completion, gold: Any, tolerance: float) -> float | None:
    if isinstance(gold, bool) or not isinstance(gold, str | int | float | None):
        raise ValueError(
            f"solution is {str(gold)[:80]!r} of type {type(gold).__name__}: set it to a string such as '3.5 km', or "
            "to a number."
        )
    right = None if gold is None else gold_quantity(str(gold))
    if right is None:
        return None
    given = _given(completion)
    return float(bool(given) and all(_equal(each, right, tolerance) for each in given))


def _given(completion: Completion) -> list[Quantity]:
    text, named = final_answer(completion)
    text = plain_latex(text)
    if not named:
        return (quantities(text, last=True) or [[]])[-1]
    return (quantities(_after_equals(_REASON.split(text, 1)[0])) or [[]])[0]


def _after_equals(text: str) -> str:
    return _EQUALS.split(text)[-1]


def _equal(answer: Quantity, gold: Quantity, tolerance: float) -> bool:
    if gold.unit is None:
        values = [answer.value, answer.in_unit(None)]
    else:
        values = [None if answer.unit is None else answer.in_unit(gold.unit)]
    nothing = 0.0 if gold.value else 1e-9  # 32 °F is 5.7e-14 °C
    close = (
        math.isclose(value, gold.value, rel_tol=tolerance, abs_tol=nothing) for value in values if value is not None
    )
    return any(close)
