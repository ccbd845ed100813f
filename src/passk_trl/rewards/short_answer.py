"""Short answers in words: an answer is right if it is an accepted one, whatever its case, punctuation and articles."""

import re
import string
from typing import Any

from .accepted_answers import accepted_answers
from .completions import Completion
from .final_answer import final_answer
from .plain_text import plain_letters


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACED_PUNCTUATION = str.maketrans(string.punctuation, " " * len(string.punctuation))
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def short_answer_reward(completions: list[Completion], solution: list[Any], **kwargs: Any) -> list[float | None]:
    r"""
    1 for a completion whose answer is one of the accepted answers, 0 for any other: the exact match of SQuAD and of
    TriviaQA.

    The answer is the content of the last `\boxed{}`; without a box, the rest of the line after the last "answer is" or
    "Answer:"; without either, the whole text. Text around such a whole text makes it wrong. Where there is an
    `<answer>…</answer>`, what is in it is the text.

    Answers are compared in lower case, without punctuation, without "a", "an" and "the", and with single spaces.
    SQuAD leaves punctuation out ("Jay-Z" is "jayz") and TriviaQA puts a space in its place ("jay z"): what is equal in
    either way is right. Full-width letters, curly quotes and no-break spaces are read as plain ones. Accents count.
    Where nothing would be left ("A", "+"), articles or punctuation stay.

    Numbers lose their sign and point like any punctuation: use [`accuracy_reward`] or [`quantity_reward`] for them.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the policy's last message is judged.
        solution (`list`):
            Accepted answers of each completion: one string, a list of strings, SQuAD's `{"text": […]}` or TriviaQA's
            `{"value": …, "aliases": […], "normalized_aliases": […]}`.
        **kwargs:
            Other arguments that TRL passes to a reward function. Not used.

    Returns:
        `list[float | None]`: One reward per completion. It is `None` where no answer is accepted, as for the
        unanswerable questions of SQuAD 2.

    Raises:
        `ValueError`: If a gold answer is of another kind.

    Source: Rajpurkar et al. 2016 (SQuAD) and Joshi et al. 2017 (TriviaQA), the evaluation scripts.

    Example:
        ```python
        >>> short_answer_reward(["The answer is the U.S.A.", "Rome"], [["USA", "United States"], "Paris"])
        [1.0, 0.0]
        ```
    """
    return [_match(completion, gold) for completion, gold in zip(completions, solution, strict=True)]


def normalized(text: str, spaced: bool = False) -> str:
    """
    An answer as SQuAD compares it: lower case, no punctuation, no articles, single spaces. With `spaced`, as TriviaQA
    compares it: a space in the place of each punctuation mark.
    """
    plain = plain_letters(text)
    words = plain.translate(_SPACED_PUNCTUATION if spaced else _NO_PUNCTUATION)
    for left in (_ARTICLES.sub(" ", words), words, plain):
        if left := " ".join(left.split()):
            return left
    return ""


def _match(completion: Completion, gold: Any) -> float | None:
    golds = [answer for answer in accepted_answers(gold) if normalized(answer)]
    if not golds:
        return None
    return float(bool(_forms(final_answer(completion).text) & {form for each in golds for form in _forms(each)}))


def _forms(answer: str) -> set[tuple[bool, str]]:
    """An answer as SQuAD compares it and as TriviaQA does, where it has any letter or sign."""
    forms = {(spaced, normalized(answer, spaced)) for spaced in (False, True)}
    return {(spaced, form) for spaced, form in forms if form}
