"""Splits that share no question, whatever the seeds, and datasets of different questions."""

import random
from collections.abc import Callable
from typing import TypeVar

from datasets import Dataset, DatasetDict


SPLITS = {"train": (0.0, 0.7), "probe": (0.7, 0.85), "test": (0.85, 1.0)}
"""Where each split starts and ends in the shuffled questions."""

Question = tuple[str, str, str]
"""A prompt, its answer and its kind."""

T = TypeVar("T")


def of_split(questions: list[T], split: str) -> list[T]:
    """
    The questions that a split may use. The partition is fixed: no seed moves a question from one split to another.

    Args:
        questions (`list`):
            All questions, such as pairs of numbers, in a fixed order.
        split (`str`):
            One of `"train"`, `"probe"` and `"test"`.

    Returns:
        `list`: Questions that are in no other split.

    Raises:
        ValueError: If `split` is not one of the three.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}: set it to one of {', '.join(map(repr, SPLITS))}.")
    shuffled = list(questions)
    random.Random(0).shuffle(shuffled)
    start, stop = (round(share * len(shuffled)) for share in SPLITS[split])
    return shuffled[start:stop]


def unique_questions(stream: str, num_prompts: int, draw: Callable[[random.Random], Question]) -> Dataset:
    """So many different questions, each a prompt, its answer and its kind, from the random stream of this name."""
    if num_prompts < 1:
        raise ValueError(f"num_prompts is {num_prompts}: set it to at least 1.")
    rng = random.Random(stream)
    questions: dict[str, Question] = {}
    while len(questions) < num_prompts:
        question = draw(rng)
        questions.setdefault(question[0], question)
    return Dataset.from_list(
        [dict(zip(("prompt", "solution", "kind"), each, strict=True)) for each in questions.values()]
    )


def splits_of(task: Callable[..., Dataset]) -> DatasetDict:
    """A task as `train` (2,000 prompts), `probe` (1,024) and `test` (512)."""
    sizes = {"train": 2000, "probe": 1024, "test": 512}
    return DatasetDict({split: task(size, split=split) for split, size in sizes.items()})
