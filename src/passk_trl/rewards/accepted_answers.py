"""The accepted answers in a cell of a `solution` column."""

import math
from typing import Any


def accepted_answers(solution: Any) -> list[str]:
    """
    The answers that a gold answer accepts.

    Args:
        solution (`str`, `int`, `float`, `list` or `dict`):
            One answer, a list of answers, SQuAD's `{"text": […]}`, or TriviaQA's `{"value": …, "aliases": […],
            "normalized_aliases": […]}`.

    Returns:
        `list[str]`: The answers. It is empty if there are none, as for the unanswerable questions of SQuAD 2. The year
        `1989.0`, as a column with missing numbers has it, is `1989`.

    Raises:
        `ValueError`: If the gold answer is of another kind.
    """
    if isinstance(solution, str):
        return [solution] if solution.strip() else []
    if solution is None:
        return []
    if isinstance(solution, float):
        return [] if math.isnan(solution) else [f"{solution:.0f}" if solution.is_integer() else str(solution)]
    if isinstance(solution, int) and not isinstance(solution, bool):
        return [str(solution)]
    if isinstance(solution, list | tuple):
        return [answer for each in solution for answer in accepted_answers(each)]
    if isinstance(solution, dict) and (keys := [key for key in _KEYS if key in solution]):
        return [answer for key in keys for answer in accepted_answers(solution[key])]
    raise ValueError(
        f"solution is {str(solution)[:80]!r} of type {type(solution).__name__}: set it to a string, a list of "
        "strings, SQuAD's {'text': […]} or TriviaQA's {'value': …, 'aliases': […]}."
    )


def the_answer(solution: Any) -> str | None:
    """
    The text of a gold answer that is one answer; `None` if there is none.

    Raises:
        `ValueError`: If it is a list or a dictionary.
    """
    if isinstance(solution, list | tuple | dict):
        raise ValueError(
            f"solution is {str(solution)[:80]!r} of type {type(solution).__name__}: set it to one string, or "
            "reward_funcs to short_answer_reward, which reads several accepted answers."
        )
    return None if solution is None else str(solution)


# SQuAD's key, then TriviaQA's.
_KEYS = ("text", "value", "aliases", "normalized_aliases")
