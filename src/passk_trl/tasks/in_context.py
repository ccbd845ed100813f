"""Tasks that a pretrained language model does after a few examples in the prompt, without being trained on them.

    4 + 3 = 7
    5 + 4 = nine
    6 + 2 = 8
    8 + 3 =

In `competing_formats` the examples show both ways to write a sum, and the prompt does not say which one counts. Mostly
it is digits, seldom a word. More of one format is less of the other, so the prompts interfere. In `mixed_sums` all
answers are digits, and prompts differ in difficulty alone: one digit or two.

Prompts are plain text. The answer is the first line of the completion, which `first_line_reward` reads.
"""

import random
from collections.abc import Callable

from datasets import Dataset, DatasetDict

from .questions import Question, splits_of, unique_questions
from .splits import part_of


WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
"""The names of the numbers to twenty."""

_SMALL = [(a, b) for a in range(1, 20) for b in range(1, 20) if a + b < len(WORDS)]
_ONE_DIGIT = [(a, b) for a in range(1, 10) for b in range(1, 10)]
_TWO_DIGITS = [(a, b) for a in range(10, 100) for b in range(10, 100)]

Sum = tuple[int, int]


def competing_formats(num_prompts: int, seed: int = 0, split: str = "train", words_share: float = 0.25) -> Dataset:
    """
    Sums to twenty after three examples, two with digits and one with a word. Which format counts is drawn at random.

    Args:
        num_prompts (`int`):
            Number of prompts, all different.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the prompts and of the format behind each. It does not affect which split a sum is in.
        split (`str`, *optional*, defaults to `"train"`):
            One of `"train"`, `"probe"` and `"test"`, which ask for different sums, whatever the seeds. `3 + 4` and
            `4 + 3` are in the same one. The examples are from all of them.
        words_share (`float`, *optional*, defaults to `0.25`):
            Share of the prompts whose answer is a word.

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (text), `solution` (such as `"11"` or `"eleven"`) and `kind`
        (`"digits"` or `"words"`).

    Raises:
        ValueError: If `split` is unknown, `num_prompts` is below 1, or `words_share` is no probability.
    """
    if not 0 <= words_share <= 1:
        raise ValueError(f"words_share is {words_share}: set it between 0 and 1.")
    sums = _part_of(_SMALL, split)

    def draw(rng: random.Random) -> Question:
        asked = rng.choice(sums)
        shown = rng.sample([each for each in _SMALL if sum(each) != sum(asked)], 3)
        examples = [_example(shown[0], str), _example(shown[1], str), _example(shown[2], _word)]
        rng.shuffle(examples)
        kind = "words" if rng.random() < words_share else "digits"
        return _prompt(examples, asked), _word(sum(asked)) if kind == "words" else str(sum(asked)), kind

    return unique_questions(f"competing_formats {split} {seed}", num_prompts, draw)


def mixed_sums(num_prompts: int, seed: int = 0, split: str = "train", hard_share: float = 0.5) -> Dataset:
    """
    Sums of numbers with one digit (easy) and with two (hard), after two examples of the same kind.

    Args:
        num_prompts (`int`), seed (`int`), split (`str`):
            As for [`competing_formats`].
        hard_share (`float`, *optional*, defaults to `0.5`):
            Share of the prompts with two digits.

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (text), `solution` (such as `"11"`) and `kind` (`"easy"` or `"hard"`).

    Raises:
        ValueError: If `split` is unknown, `num_prompts` is below 1, or `hard_share` is no probability.
    """
    if not 0 <= hard_share <= 1:
        raise ValueError(f"hard_share is {hard_share}: set it between 0 and 1.")
    of_kind = {"easy": _ONE_DIGIT, "hard": _TWO_DIGITS}
    sums = {kind: _part_of(every, split) for kind, every in of_kind.items()}

    def draw(rng: random.Random) -> Question:
        kind = "hard" if rng.random() < hard_share else "easy"
        asked = rng.choice(sums[kind])
        shown = rng.sample([each for each in of_kind[kind] if sum(each) != sum(asked)], 2)
        return _prompt([_example(each, str) for each in shown], asked), str(sum(asked)), kind

    return unique_questions(f"mixed_sums {split} {seed}", num_prompts, draw)


def formats_splits() -> DatasetDict:
    """[`competing_formats`] as `train` (2,000 prompts), `probe` (1,024) and `test` (512), for a recipe to name."""
    return splits_of(competing_formats)


def sums_splits() -> DatasetDict:
    """[`mixed_sums`] as `train` (2,000 prompts), `probe` (1,024) and `test` (512), for a recipe to name."""
    return splits_of(mixed_sums)


def _part_of(sums: list[Sum], split: str) -> list[Sum]:
    """The sums of a split. `3 + 4` and `4 + 3` are in the same one."""
    larger_first = {*part_of([(a, b) for a, b in sums if a >= b], split)}
    return [(a, b) for a, b in sums if (max(a, b), min(a, b)) in larger_first]


def _word(number: int) -> str:
    return WORDS[number]


def _example(numbers: Sum, write: Callable[[int], str]) -> str:
    return f"{numbers[0]} + {numbers[1]} = {write(sum(numbers))}"


def _prompt(examples: list[str], asked: Sum) -> str:
    return "\n".join([*examples, f"{asked[0]} + {asked[1]} ="])
