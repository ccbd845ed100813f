"""Dates that can be read in two ways: `03/04/2021` is in March where the month comes first, and in April elsewhere.

Most questions have the answer of the first reading (easy majority, since a small chat model reads dates so) and some
that of the second (hard minority), in nearly the same words. As in `ambiguous_arithmetic`, a policy that moves towards
one reading moves away from the other.
"""

import random
from itertools import product

from datasets import Dataset, DatasetDict

from .conversation import after_examples
from .facts import MONTHS
from .minority import check_minority, minority_odds
from .splits import drawn, part_of


YEARS = range(1990, 2020)

DATE_WORDINGS = {
    "A newspaper from New York is dated {date}.": -1,
    "A letter from Chicago is dated {date}.": -1,
    "An old ticket has the date {date}.": 0,
    "A note has the date {date}.": 0,
    "A newspaper from London is dated {date}.": 1,
    "A letter from Dublin is dated {date}.": 1,
}
"""Each wording and its lean: -1 towards the month first, +1 towards the day first. The lean only shifts the odds."""

EXAMPLES = (
    ("Which month comes before February?", "January"),
    ("In which month is Christmas?", "December"),
    ("Which month comes after July?", "August"),
)
"""The questions and answers that come before every question. They favour no reading."""


def ambiguous_dates(
    num_prompts: int, seed: int = 0, split: str = "train", minority_share: float = 0.25, cue: float = 0.3
) -> Dataset:
    """
    Questions for the month of a date whose wording does not fully say whether month or day comes first.

    Args:
        num_prompts (`int`):
            Number of questions, all different.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the questions and of the reading behind each. It does not affect which split a date is in.
        split (`str`, *optional*, defaults to `"train"`):
            One of `"train"`, `"probe"` and `"test"`, which have no date in common, whatever the seeds.
        minority_share (`float`, *optional*, defaults to `0.25`):
            Share of the questions whose answer is that of the day first.
        cue (`float`, *optional*, defaults to `0.3`):
            How much a wording's lean shifts the odds, as for [`ambiguous_arithmetic`].

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (a conversation that begins with three answered questions),
        `solution` (such as `["April", "Apr"]`), `rule` (`"month first"` or `"day first"`), `date` and `wording`.

    Raises:
        ValueError: If `num_prompts` is not between 1 and the number of different questions in the split, `split` is
            not one of the three, or `minority_share` and `cue` do not give probabilities.
    """
    check_minority(minority_share, cue)
    months = range(1, 13)
    dates = [(one, two, year) for one, two, year in product(months, months, YEARS) if one != two]
    questions = list(product(part_of(dates, split), DATE_WORDINGS))
    rng = random.Random(f"ambiguous_dates {split} {seed}")
    rows = []
    for date, wording in drawn(questions, num_prompts, split, rng):
        is_minority = rng.random() < minority_odds(DATE_WORDINGS[wording], minority_share, cue)
        rows.append(_row(date, wording, "day first" if is_minority else "month first"))
    return Dataset.from_list(rows)


def ambiguous_date_splits() -> DatasetDict:
    """
    The splits that a recipe loads with `dataset_name: passk_trl.tasks.ambiguous_date_splits`.

    Returns:
        [`~datasets.DatasetDict`]: `ambiguous_dates` as `train` (2,000 questions), `probe` (1,000) and `test` (256).
    """
    sizes = {"train": 2000, "probe": 1000, "test": 256}
    return DatasetDict({split: ambiguous_dates(size, split=split) for split, size in sizes.items()})


def _row(date: tuple[int, int, int], wording: str, rule: str) -> dict:
    one, two, year = date
    written = f"{one:02}/{two:02}/{year}"
    month = MONTHS[(two if rule == "day first" else one) - 1]
    return {
        "prompt": after_examples(EXAMPLES, f"{wording.format(date=written)} Which month is that?"),
        "solution": sorted({month, month[:3]}, key=len, reverse=True),
        "rule": rule,
        "date": written,
        "wording": wording,
    }
