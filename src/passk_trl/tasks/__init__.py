"""Verifiable tasks that need no download.

A task is a function from `(num_prompts, seed, split)` to a `datasets.Dataset` with the columns `prompt`
(conversational), `solution` (what the verifier reads) and others that describe the question.
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
from .short_answers import short_question_splits, short_questions
from .splits import SPLITS


__all__ = [
    "DATE_WORDINGS",
    "RULES",
    "SPLITS",
    "STRATEGIES",
    "WORDINGS",
    "ambiguous_arithmetic",
    "ambiguous_date_splits",
    "ambiguous_dates",
    "many_strategies",
    "odds_of_difference",
    "plain_arithmetic",
    "quickstart",
    "short_question_splits",
    "short_questions",
    "split_pairs",
]
