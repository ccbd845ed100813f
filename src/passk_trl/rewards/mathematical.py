"""Mathematical equality: an answer is right if it equals the gold answer, however it is written."""

import re
import warnings
from functools import lru_cache
from typing import Any

from passk_trl.child_process import ChildProcess

from .completions import Completion, last_boxed, last_tagged, text_of
from .final_answer import final_answer
from .plain_math import plain_math
from .words import says, words_of


_process = ChildProcess("passk_trl.rewards.verifier_process", seconds=30)

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
    in the text, or between its last `<answer>` and `</answer>`: the whole if it is bare mathematics (`\frac12`,
    `12`), else the last formula or number. A box that is never closed (a truncated completion) is not an answer. The
    gold answer is read by the same rules, so it may be bare, in `$…$`, or at the end of a worked solution. Mixed
    numbers (`2 1/2`), scientific notation (`1.5e3`), `x**2`, `sqrt(2)` and Unicode signs are read as what they mean.

    Numbers are compared exactly. A decimal is right if it is the gold number rounded to six digits or more. A gold
    answer of a few words (`Monday`, `\text{no solution}`) is compared as by [`short_answer_reward`].

    A process of its own compares, in whatever thread this is called. A comparison that takes more than a few seconds
    counts as unequal. Results are cached, so a completion seen before costs microseconds.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the policy's last message is judged.
        solution (`list[str]`):
            Gold answer of each completion.
        **kwargs:
            Other arguments that TRL passes to a reward function. Not used.

    Returns:
        `list[float | None]`: One reward per completion. It is `None` where the gold answer cannot be read, so that
        the trainer leaves the completion out and does not count it as wrong.

    Example:
        ```python
        >>> accuracy_reward([r"so \boxed{\frac{2}{4}}", "The answer is 3."], ["0.5", "4"])
        [1.0, 0.0]
        ```
    """
    return [
        None if gold is None else _accuracy(completion, str(gold))
        for completion, gold in zip(completions, solution, strict=True)
    ]


def _accuracy(completion: Completion, gold: str) -> float | None:
    if (words := words_of(gold)) is not None:
        return float(says(final_answer(completion), words))
    return _equality(_answer(text_of(completion)), _answer(gold))


def _answer(text: str) -> str:
    """The part of a text to parse. It is as short as possible, so that equal answers share a cache entry."""
    if r"\boxed" in text:
        return _in_box(last_boxed(text) or "")
    if (tagged := last_tagged(text)) is not None:
        text = tagged
    if _NOT_BARE_MATH.search(_NAMES_IN_BRACES.sub("", plain := plain_math(text))):
        return plain
    return _in_box(text)


def _in_box(formula: str) -> str:
    return "" if len(formula) > LONGEST else rf"\boxed{{{plain_math(formula)}}}"


@lru_cache(maxsize=4096)
def _equality(answer: str, gold: str) -> float | None:
    """As [`~passk_trl.rewards.equality.equality`]. An answer on which the process dies is wrong."""
    try:
        return _process.ask([answer, gold])
    except ChildProcessError as error:
        warnings.warn(f"The comparison of {answer[-200:]!r} did not end ({error}) and counts as wrong.")
        return 0.0
