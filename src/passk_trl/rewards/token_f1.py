"""Short answers in words, by how many words they share with an accepted answer."""

from collections import Counter
from typing import Any

from .accepted_answers import accepted_answers
from .completions import Completion
from .final_answer import final_answer
from .short_answer import normalized


def token_f1_reward(completions: list[Completion], solution: list[Any], **kwargs: Any) -> list[float | None]:
    """
    The F1 score of the words of an answer, between 0 and 1: SQuAD's, the largest over the accepted answers.

    Answers are found and normalised as by [`short_answer_reward`], with SQuAD's treatment of punctuation. With w words
    in common, counted as often as both have them, the score is 2w / (words of the answer + words of the gold answer).

    Pass@k needs to know which answers count as correct, so set `success_threshold` of
    [`~passk_trl.PassKGRPOConfig`], such as to 0.5: an answer is then correct if its score is at least
    0.5.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the policy's last message is judged.
        solution (`list`):
            Accepted answers of each completion, as for [`short_answer_reward`].
        **kwargs:
            Other arguments that TRL passes to a reward function. Not used.

    Returns:
        `list[float | None]`: One score per completion. It is `None` where no answer is accepted.

    Raises:
        `ValueError`: If a gold answer is of a kind that is not read.

    Source: Rajpurkar et al. 2016 (SQuAD), the evaluation script.

    Example:
        ```python
        >>> token_f1_reward(["the Second World War", "Rome"], ["World War", "Paris"])
        [0.8, 0.0]
        ```
    """
    return [_best(completion, gold) for completion, gold in zip(completions, solution, strict=True)]


def token_f1(answer: str, gold: str) -> float:
    """F1 of the words of two normalised texts."""
    ours, theirs = answer.split(), gold.split()
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def _best(completion: Completion, gold: Any) -> float | None:
    golds = [text for text in map(normalized, accepted_answers(gold)) if text]
    if not golds:
        return None
    answer = normalized(final_answer(completion).text)
    return max(token_f1(answer, text) for text in golds)
