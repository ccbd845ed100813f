"""Datasets of different questions."""

import random
from collections.abc import Callable

from datasets import Dataset, DatasetDict


Question = tuple[str, str, str]
"""A prompt, its answer and its kind."""

MOST_DRAWN_AGAIN = 1000
"""So many prompts in a row that were drawn before mean that there are no others."""


def unique_questions(stream: str, num_prompts: int, draw: Callable[[random.Random], Question]) -> Dataset:
    """
    So many different questions, each a prompt, its answer and its kind, from the random stream of this name.

    Raises:
        ValueError: If `num_prompts` is below 1, or more than there seem to be.
    """
    if num_prompts < 1:
        raise ValueError(f"num_prompts is {num_prompts}: set it to at least 1.")
    rng = random.Random(stream)
    questions: dict[str, Question] = {}
    drawn_again = 0
    while len(questions) < num_prompts:
        question = draw(rng)
        drawn_again = drawn_again + 1 if question[0] in questions else 0
        if drawn_again == MOST_DRAWN_AGAIN:
            raise ValueError(f"num_prompts is {num_prompts}, but no more than {len(questions)} were found: lower it.")
        questions[question[0]] = question
    return Dataset.from_list(
        [dict(zip(("prompt", "solution", "kind"), each, strict=True)) for each in questions.values()]
    )


def splits_of(task: Callable[..., Dataset]) -> DatasetDict:
    """A task as `train` (2,000 prompts), `probe` (1,024) and `test` (512)."""
    sizes = {"train": 2000, "probe": 1024, "test": 512}
    return DatasetDict({split: task(size, split=split) for split, size in sizes.items()})
