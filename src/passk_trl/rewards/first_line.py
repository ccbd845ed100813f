"""The first line: what a policy without a chat template answers before it goes on writing."""

from typing import Any

from .accepted_answers import the_answer
from .completions import Completion, text_of


def first_line_reward(completions: list[Completion], solution: list[str], **kwargs: Any) -> list[float | None]:
    """
    1 for a completion whose first line is the gold answer, letter for letter, 0 for any other.

    A base model that completes a text does not stop after its answer. Its answer is the first line that is not empty.
    White space at the ends does not count.

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
        None if gold is None else float(text_of(completion).strip().partition("\n")[0].strip() == gold.strip())
        for completion, gold in zip(completions, map(the_answer, solution), strict=True)
    ]
