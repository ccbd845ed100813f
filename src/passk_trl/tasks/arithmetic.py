"""Questions about two numbers, whose answers a verifier can check.

In `ambiguous_arithmetic` the wording does not say which of two rules applies. Most questions ask for the sum (easy
majority) and some for the difference (hard minority), in the same words. A policy that moves towards one rule moves
away from the other, so the prompts interfere. Pass@k training gives the rarely solved minority the weight
k(1 - p)^(k - 1), and so loses pass@1 (arXiv 2602.21189, section 3).

In `plain_arithmetic` the wording says which rule applies, so prompts differ in difficulty alone. In `many_strategies`
one of four rules applies, each about equally often and in the same words: a policy that knows one rule needs the
others for pass@k.
"""

import random
from collections.abc import Callable
from itertools import product

from datasets import Dataset, DatasetDict

from .minority import check_minority, minority_odds
from .splits import drawn, part_of


NUMBERS = range(10, 80)  # the larger number comes first, so that the difference is never negative

RULES = {"sum": lambda a, b: a + b, "difference": lambda a, b: a - b}
"""The rules of `ambiguous_arithmetic`: name → the answer for two numbers."""
STRATEGIES = {**RULES, "first": lambda a, b: a, "second": lambda a, b: b}
"""The rules of `many_strategies`."""

# How often each rule applies in `many_strategies`.
STRATEGY_SHARES = {"sum": 0.31, "difference": 0.23, "first": 0.23, "second": 0.23}

WORDINGS = {
    "Combine {a} and {b}.": -1,
    "Put {a} with {b}.": -1,
    "Take {a} and {b}.": 0,
    "Work out {a} and {b}.": 0,
    "Compare {a} and {b}.": 1,
    "Set {a} against {b}.": 1,
}
"""Each wording and its lean: -1 towards the sum, +1 towards the difference. The lean only shifts the odds."""


def split_pairs(split: str) -> list[tuple[int, int]]:
    """
    The pairs of numbers that questions of a split may use, the larger number first. The partition is fixed: no seed
    moves a pair from one split to another.

    Args:
        split (`str`):
            One of `"train"`, `"probe"` and `"test"`.

    Returns:
        `list[tuple[int, int]]`: Pairs that are in no other split.

    Raises:
        ValueError: If `split` is not one of the three.
    """
    return part_of([(a, b) for a in NUMBERS for b in NUMBERS if a > b], split)


def ambiguous_arithmetic(
    num_prompts: int, seed: int = 0, split: str = "train", minority_share: float = 0.25, cue: float = 0.3
) -> Dataset:
    r"""
    Questions about two numbers. Their wording does not fully say whether they ask for the sum or the difference.

    Args:
        num_prompts (`int`):
            Number of questions, all different.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the questions and of the rule behind each. It does not affect which split a pair of numbers is in.
        split (`str`, *optional*, defaults to `"train"`):
            One of `"train"`, `"probe"` and `"test"`, which have no pair of numbers in common, whatever the seeds.
        minority_share (`float`, *optional*, defaults to `0.25`):
            Share of the questions whose answer is the difference.
        cue (`float`, *optional*, defaults to `0.3`):
            How much a wording's lean shifts the odds: a question asks for the difference with probability
            `minority_share * (1 + cue * lean)`. With 0, the wording says nothing about the rule.

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (one user message), `solution` (such as `"\boxed{38}"`), `answer`
        (`38`), `rule` (`"sum"` or `"difference"`) and `wording`.

    Raises:
        ValueError: If `num_prompts` is not between 1 and the number of different questions in the split, or
            `minority_share` and `cue` do not give probabilities.

    Example:

    ```python
    >>> from passk_trl.tasks import ambiguous_arithmetic

    >>> ambiguous_arithmetic(1000, seed=0)[0]["prompt"]
    [{'role': 'user', 'content': 'Take 63 and 28.'}]
    ```
    """
    check_minority(minority_share, cue)

    def rule_of(wording: str, rng: random.Random) -> str:
        return "difference" if rng.random() < odds_of_difference(wording, minority_share, cue) else "sum"

    return _questions(f"ambiguous_arithmetic {split} {seed}", num_prompts, split, rule_of)


def odds_of_difference(wording: str, minority_share: float = 0.25, cue: float = 0.3) -> float:
    """The probability that a question of [`ambiguous_arithmetic`] with this wording asks for the difference."""
    return minority_odds(WORDINGS[wording], minority_share, cue)


def plain_arithmetic(num_prompts: int, seed: int = 0, split: str = "train") -> Dataset:
    """
    The questions of [`ambiguous_arithmetic`], but the wording says what they ask for: the difference where it leans
    towards it, else the sum.

    Args:
        num_prompts (`int`), seed (`int`), split (`str`):
            As for [`ambiguous_arithmetic`].

    Returns:
        [`~datasets.Dataset`]: the same columns.

    Raises:
        ValueError: If `num_prompts` is not between 1 and the number of different questions in the split.
    """

    def rule_of(wording: str, rng: random.Random) -> str:
        return "difference" if WORDINGS[wording] > 0 else "sum"

    return _questions(f"plain_arithmetic {split} {seed}", num_prompts, split, rule_of)


def many_strategies(
    num_prompts: int, seed: int = 0, split: str = "train", shares: dict[str, float] | None = None
) -> Dataset:
    """
    Questions to which one of four rules applies, whatever the wording: sum, difference, first number, second number.

    Args:
        num_prompts (`int`), seed (`int`), split (`str`):
            As for [`ambiguous_arithmetic`].
        shares (`dict[str, float]`, *optional*):
            How often each rule applies; `STRATEGY_SHARES` if `None`.

    Returns:
        [`~datasets.Dataset`]: the same columns.

    Raises:
        ValueError: If `num_prompts` is not between 1 and the number of different questions in the split, or `shares`
            has a rule that there is not.
    """
    if unknown := {*(shares or ())} - {*STRATEGIES}:
        raise ValueError(f"shares has {sorted(unknown)}: set the rules {', '.join(STRATEGIES)}.")
    names, weights = zip(*(shares or STRATEGY_SHARES).items(), strict=True)

    def rule_of(wording: str, rng: random.Random) -> str:
        return rng.choices(names, weights)[0]

    return _questions(f"many_strategies {split} {seed}", num_prompts, split, rule_of)


def quickstart() -> DatasetDict:
    """
    The splits that the quickstart's recipes load with `dataset_name: passk_trl.tasks.quickstart`.

    Returns:
        [`~datasets.DatasetDict`]: `ambiguous_arithmetic` as `train` (2,000 questions), `probe` (1,000) and `test`
        (256).
    """
    sizes = {"train": 2000, "probe": 1000, "test": 256}
    return DatasetDict({split: ambiguous_arithmetic(size, split=split) for split, size in sizes.items()})


def _questions(stream: str, num_prompts: int, split: str, rule_of: Callable[[str, random.Random], str]) -> Dataset:
    questions = list(product(split_pairs(split), WORDINGS))
    rng = random.Random(stream)
    pairs = drawn(questions, num_prompts, split, rng)
    return Dataset.from_list([_row(pair, wording, rule_of(wording, rng)) for pair, wording in pairs])


def _row(pair: tuple[int, int], wording: str, rule: str) -> dict:
    a, b = pair
    answer = STRATEGIES[rule](a, b)
    return {
        "prompt": [{"role": "user", "content": wording.format(a=a, b=b)}],
        "solution": rf"\boxed{{{answer}}}",
        "answer": answer,
        "rule": rule,
        "wording": wording,
    }
