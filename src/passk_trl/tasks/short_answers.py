"""Short questions with short answers: small facts that a small chat model knows in part.

Every question comes from a table of facts. `short_answer_reward` verifies them.
"""

import random
import string
from collections.abc import Iterator
from itertools import pairwise

from datasets import Dataset, DatasetDict

from .conversation import after_examples
from .facts import CAPITALS, DAYS, EXAMPLES, MONTHS, NUMBER_WORDS, OPPOSITES, OTHER_OPPOSITES, UNITS, WORDS
from .splits import drawn, part_of


# A question: its kind, what it is about, its wording, and the accepted answers.
Question = tuple[str, str, str, list[str]]


def short_questions(num_prompts: int, seed: int = 0, split: str = "train") -> Dataset:
    """
    Short questions about days, months, letters, numbers, units, capitals and opposites. Two answered
    questions of the same kind come before each. Besides the short answer, the sentence that a small chat model likes
    to answer with is accepted.

    Args:
        num_prompts (`int`):
            Number of questions, all different.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the questions. It does not affect which split a question is in.
        split (`str`, *optional*, defaults to `"train"`):
            One of `"train"`, `"probe"` and `"test"`. Whatever a question is about, such as a country, is in one of
            them alone, whatever the seeds.

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (a conversation), `solution` (the accepted answers, such as
        `["120", "120 minutes", …]`), `kind` (such as `"unit"`) and `about` (such as `"2 hours"`).

    Raises:
        ValueError: If `num_prompts` is not between 1 and the number of different questions in the split, or `split` is
            not one of the three.

    Example:

    ```python
    >>> from passk_trl.tasks import short_questions

    >>> short_questions(100, seed=0)[0]["solution"]
    ['71', '71 is larger', '71 is larger than 59']
    ```
    """
    contents = {*part_of(sorted({about for _, about, *_ in _questions()}), split)}
    questions = [question for question in _questions() if question[1] in contents]
    rng = random.Random(f"short_questions {split} {seed}")
    return Dataset.from_list([_row(*question) for question in drawn(questions, num_prompts, split, rng)])


def short_question_splits() -> DatasetDict:
    """
    The splits that a recipe loads with `dataset_name: passk_trl.tasks.short_question_splits`.

    Returns:
        [`~datasets.DatasetDict`]: `short_questions` as `train` (600 questions), `probe` (128) and `test` (128).
    """
    sizes = {"train": 600, "probe": 128, "test": 128}
    return DatasetDict({split: short_questions(size, split=split) for split, size in sizes.items()})


def _row(kind: str, about: str, wording: str, answers: list[str]) -> dict:
    return {
        "prompt": after_examples(EXAMPLES[kind], wording),
        "solution": answers,
        "kind": kind,
        "about": about,
    }


def _questions() -> Iterator[Question]:
    yield from _about_the_calendar()
    yield from _about_letters()
    yield from _about_numbers()
    yield from _about_words()


def _about_the_calendar() -> Iterator[Question]:
    for names, unit, most in ((DAYS, "day", 10), (MONTHS, "month", 6)):
        for start, name in enumerate(names):
            for steps in range(1, most + 1):
                later = names[(start + steps) % len(names)]
                much = f"{steps} {unit}{'s' * (steps > 1)}"
                answers = [later, f"{much} after {name} is {later}"]
                yield unit, f"{much} after {name}", f"Which {unit} is {much} after {name}?", answers


def _about_letters() -> Iterator[Question]:
    letters = string.ascii_uppercase
    for before, after in pairwise(letters):
        yield "letter", f"after {before}", f"Which letter of the alphabet comes right after {before}?", [after]
        yield "letter", f"before {after}", f"Which letter of the alphabet comes right before {after}?", [before]
    for word in WORDS:
        for place, letter in (("first", word[0]), ("last", word[-1])):
            asked = f"{place} letter of the word {word}"
            yield "spelling", word, f"What is the {asked}?", [letter, f"The {asked} is {letter}"]


def _about_numbers() -> Iterator[Question]:
    for number in range(21, 100):
        words = f"{NUMBER_WORDS[number // 10 * 10]}{'-' * (number % 10 > 0)}{NUMBER_WORDS[number % 10]}"
        yield "number", str(number), f"Write the number {words} in digits.", [str(number)]
        yield "number", str(number), f"Write the number {number} in words.", [words]
        other = number * 37 % 79 + 21  # a different number in an order without a pattern
        if other != number:
            larger, smaller = max(number, other), min(number, other)
            answers = [str(larger), f"{larger} is larger", f"{larger} is larger than {smaller}"]
            yield "larger", f"{number} {other}", f"Which number is larger, {number} or {other}?", answers
    for large, small, factor in UNITS:
        for count in range(1, 13):
            much = f"{count} {large if count == 1 else _plural(large)}"
            answer = f"{count * factor} {_plural(small)}"
            answers = [str(count * factor), answer, f"{much} is {answer}", f"There are {answer} in {much}"]
            yield "unit", much, f"How many {_plural(small)} are in {much}?", answers


def _about_words() -> Iterator[Question]:
    countries = sorted(CAPITALS)
    for place, country in enumerate(countries):
        capital = CAPITALS[country]
        yield (
            "capital",
            country,
            f"What is the capital of {country}?",
            [capital, f"The capital of {country} is {capital}"],
        )
        answers = [country, f"{capital} is the capital of {country}"]
        yield "country", country, f"{capital} is the capital of which country?", answers
        others = [CAPITALS[countries[(place + step) % len(countries)]] for step in (7, 19)]
        choices = [*others[: place % 3], capital, *others[place % 3 :]]
        listed = " ".join(f"{letter}) {city}" for letter, city in zip("ABC", choices, strict=True))
        letter = "ABC"[place % 3]
        answers = [letter, f"{letter}) {capital}", capital, f"The capital of {country} is {capital}"]
        yield "choice", country, f"Which is the capital of {country}? {listed}", answers
    for pair in OPPOSITES:
        for word, opposite in (pair, pair[::-1]):
            opposites = [opposite, *([OTHER_OPPOSITES[word]] if word in OTHER_OPPOSITES else [])]
            answers = [*opposites, *(f"The opposite of {word} is {each}" for each in opposites)]
            yield "opposite", " ".join(pair), f'What is the opposite of "{word}"?', answers


def _plural(unit: str) -> str:
    return {"foot": "feet", "inch": "inches", "century": "centuries"}.get(unit, f"{unit}s")
