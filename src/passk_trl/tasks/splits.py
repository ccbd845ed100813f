"""How the contents of questions are divided into splits, and how questions are drawn from one."""

import random
from typing import TypeVar


Item = TypeVar("Item")

SPLITS = {"train": (0.0, 0.7), "probe": (0.7, 0.85), "test": (0.85, 1.0)}
"""Where each split starts and ends in the shuffled contents of questions, such as pairs of numbers."""


def part_of(items: list[Item], split: str) -> list[Item]:
    """
    The items of a split. The partition is fixed: no seed moves an item from one split to another.

    Raises:
        ValueError: If `split` is not one of the three.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}: set it to one of {', '.join(map(repr, SPLITS))}.")
    shuffled = [*items]
    random.Random(0).shuffle(shuffled)
    start, stop = (round(share * len(shuffled)) for share in SPLITS[split])
    return shuffled[start:stop]


def drawn(questions: list[Item], num_prompts: int, split: str, rng: random.Random) -> list[Item]:
    """
    Different questions of a split, in a random order.

    Raises:
        ValueError: If `num_prompts` is not between 1 and the number of questions.
    """
    if not 1 <= num_prompts <= len(questions):
        raise ValueError(
            f"num_prompts is {num_prompts}, but the {split} split has {len(questions)} different questions: set "
            f"num_prompts between 1 and {len(questions)}."
        )
    return rng.sample(questions, num_prompts)
