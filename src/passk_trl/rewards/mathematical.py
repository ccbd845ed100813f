"""Mathematical equality: an answer is right if it equals the gold answer, however it is written."""

import re
import threading
from functools import lru_cache
from typing import Any

from .completions import Completion, last_boxed, text_of
from .equality import equality
from .other_threads import equality_in_process
from .plain_math import plain_math


LONGEST = 2_000
"""Characters of a formula that is read. A longer one is no answer: `math_verify` would take all its time for it."""

_NAMES_IN_BRACES = re.compile(r"\\(?:text\w*|math\w+|operatorname|begin|end)\s*\{[^{}]*\}")
_NOT_BARE_MATH = re.compile(
    r"[$#\n]|\\boxed|\\[(\[]|(?<![\\A-Za-z])(?:[A-Za-z]{3,}|(?:[Ii]s|[Ii]t|[Ss]o|[Ww]e)(?![A-Za-z]))"
)


def accuracy_reward(completions: list[Completion], solution: list[str], **kwargs: Any) -> list[float | None]:
    r"""
    1 for a completion whose answer equals the gold answer mathematically, 0 for any other.

    The answer is the last complete `\boxed{}` of the completion. Without any `\boxed`, it is what `math_verify` finds
    in the text: the whole text if it is bare mathematics (`\frac12`, `12`), else the last formula or number. A box
    that is never closed (a truncated completion) is not an answer. The gold answer is read by the same rules, so it
    may be bare, in `$…$`, or at the end of a worked solution. Mixed numbers (`2 1/2`), scientific notation (`1.5e3`),
    `x**2`, `sqrt(2)` and Unicode signs are read as what they mean.

    A comparison that takes more than a few seconds counts as unequal, in every thread. Results are cached, so a
    completion seen before costs microseconds.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the last message is judged.
        solution (`list[str]`):
            Gold answer of each completion.
        **kwargs:
            Other arguments that TRL passes to a reward function. Not used.

    Returns:
        `list[float | None]`: One reward per completion. It is `None` where the gold answer cannot be parsed, so that
        the trainer leaves the completion out and does not count it as wrong.

    Example:
        ```python
        >>> accuracy_reward([r"so \boxed{\frac{2}{4}}", "The answer is 3."], ["0.5", "4"])
        [1.0, 0.0]
        ```
    """
    return [
        _accuracy(_answer(text_of(completion)), _answer(str(gold)))
        for completion, gold in zip(completions, solution, strict=True)
    ]


def _answer(text: str) -> str:
    """The part of a text to parse. It is as short as possible, so that equal answers share a cache entry."""
    if r"\boxed" in text:
        return _in_box(last_boxed(text) or "")
    if _NOT_BARE_MATH.search(_NAMES_IN_BRACES.sub("", plain := plain_math(text))):
        return plain
    return _in_box(text)


def _in_box(formula: str) -> str:
    return "" if len(formula) > LONGEST else rf"\boxed{{{plain_math(formula)}}}"


@lru_cache(maxsize=4096)
def _accuracy(answer: str, gold: str) -> float | None:
    if threading.current_thread() is threading.main_thread():
        return equality(answer, gold)
    return equality_in_process(answer, gold)
