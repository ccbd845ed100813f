"""Verifiable tasks that need no download.

A task is a function from `(num_prompts, seed, split)` to a `datasets.Dataset` with the columns `prompt`
(conversational), `solution` (what the verifier reads) and others that describe the question.
"""

from .arithmetic import (
    RULES,
    SPLITS,
    STRATEGIES,
    WORDINGS,
    ambiguous_arithmetic,
    many_strategies,
    odds_of_difference,
    plain_arithmetic,
    quickstart,
    split_pairs,
)
from .reasoning import reasoning_gym_splits


__all__ = [
    "RULES",
    "SPLITS",
    "STRATEGIES",
    "WORDINGS",
    "ambiguous_arithmetic",
    "many_strategies",
    "odds_of_difference",
    "plain_arithmetic",
    "quickstart",
    "reasoning_gym_splits",
    "split_pairs",
]
