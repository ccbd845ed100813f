"""Whether a verifier of short answers can read the gold answers of a dataset: known before training starts."""

from collections.abc import Callable
from typing import Any

from .exact_match import exact_match_reward
from .first_line import first_line_reward
from .multiple_choice import multiple_choice_reward
from .quantity import quantity_reward
from .short_answer import short_answer_reward
from .token_f1 import token_f1_reward


_COLUMNS = {
    exact_match_reward: ("solution",),
    first_line_reward: ("solution",),
    multiple_choice_reward: ("solution", "choices"),
    quantity_reward: ("solution",),
    short_answer_reward: ("solution",),
    token_f1_reward: ("solution",),
}


def check_golds(reward: Callable, dataset: Any, rows: str) -> None:
    """
    Tries a verifier on the gold answers of a dataset, with an empty completion of each prompt. Other reward functions
    than those of short answers are not tried.

    Args:
        reward (`Callable`):
            The reward function.
        dataset ([`~datasets.Dataset`]):
            What it is to score.
        rows (`str`):
            What the message calls the rows of the dataset.

    Raises:
        `ValueError`: If a gold answer is of a kind that the verifier does not read, or it can read none of them.
    """
    columns = {name: dataset[name][:] for name in _COLUMNS.get(reward, ()) if name in dataset.column_names}
    if not columns.get("solution"):
        return
    golds = columns["solution"]
    try:
        rewards = reward([""] * len(golds), **columns)
    except ValueError as error:
        raise ValueError(f"{rows}: {error}") from error
    if all(each is None for each in rewards):
        raise ValueError(
            f"{reward.__name__} can read none of the gold answers of the {rows}, such as {str(golds[0])[:80]!r}: set "
            "reward_funcs to another verifier, or answer_column to the column of the gold answers."
        )
