"""Exact match: an answer is right if it is the gold answer, letter for letter."""

from typing import Any

from .accepted_answers import the_answer
from .completions import Completion, last_boxed, text_of


def exact_match_reward(completions: list[Completion], solution: list[str], **kwargs: Any) -> list[float | None]:
    r"""
    1 for a completion whose answer is the gold answer, letter for letter, 0 for any other.

    The answer is the content of the last complete `\boxed{}`, or the whole text without one; the gold answer is read
    the same way. Runs of white space count as one space. White space at the ends does not count.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the policy's last message is judged.
        solution (`list[str]`):
            Gold answer of each completion.
        **kwargs:
            Other arguments that TRL passes to a reward function. Not used.

    Returns:
        `list[float | None]`: One reward per completion. It is `None` where the gold answer is.

    Raises:
        `ValueError`: If a gold answer is a list or a dictionary.
    """
    return [
        None if gold is None else float(_answer(text_of(completion)) == _answer(gold))
        for completion, gold in zip(completions, map(the_answer, solution), strict=True)
    ]


def _answer(text: str) -> str:
    boxed = last_boxed(text)
    return " ".join((text if boxed is None else boxed).split())
