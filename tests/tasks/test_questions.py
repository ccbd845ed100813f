"""Datasets of different questions."""

import random

import pytest

from passk_trl.tasks.questions import unique_questions


def digit(rng: random.Random) -> tuple[str, str, str]:
    number = rng.randrange(10)
    return f"{number}?", str(number), "even" if number % 2 == 0 else "odd"


def test_questions_differ():
    rows = unique_questions("digits", 10, digit)
    assert sorted(rows["solution"]) == list("0123456789")
    assert rows[:] == unique_questions("digits", 10, digit)[:]


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="num_prompts is 11, but no more than 10 were found: lower it"):
        unique_questions("digits", 11, digit)
