"""Short questions: seeded, disjoint by what they are about, and verifiable."""

import calendar
from itertools import combinations

import pytest

from passk_trl.rewards import short_answer_reward
from passk_trl.tasks import SPLITS, short_question_splits, short_questions
from passk_trl.tasks.facts import OPPOSITES, OTHER_OPPOSITES
from passk_trl.tasks.short_answers import _questions


def test_same_seed_same_rows_other_seed_others():
    assert short_questions(50, seed=3).to_list() == short_questions(50, seed=3).to_list()
    assert short_questions(50, seed=3)["about"][:] != short_questions(50, seed=4)["about"][:]


def test_a_machine_of_another_language_has_the_same_rows(monkeypatch):
    rows = short_questions(600).to_list()
    monkeypatch.setattr(calendar, "day_name", [*"ABCDEFG"])
    monkeypatch.setattr(calendar, "month_name", ["", *"ABCDEFGHIJKL"])
    assert short_questions(600).to_list() == rows


def test_no_question_repeats_and_no_split_shares_what_it_is_about():
    splits = short_question_splits()
    assert set(splits) == set(SPLITS)
    for split in splits.values():
        wordings = [row["prompt"][-1]["content"] for row in split]
        assert len({*wordings}) == len(wordings)
    about = {name: {*split["about"]} for name, split in splits.items()}
    assert all(about[one].isdisjoint(about[other]) for one, other in combinations(SPLITS, 2))


def test_every_kind_is_in_every_split():
    splits = short_question_splits()
    kinds = {name: {*split["kind"]} for name, split in splits.items()}
    assert len(kinds["train"]) > 8
    assert kinds["train"] == kinds["probe"] == kinds["test"]


def test_every_accepted_answer_is_right_and_no_other_kind_of_answer_is():
    for row in short_questions(600):
        answers = row["solution"]
        assert short_answer_reward(answers, [answers] * len(answers)) == [1] * len(answers)
        assert short_answer_reward(["", row["about"] + " or so", "I do not know."], [answers] * 3) == [0] * 3


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("Which day is 3 days after Saturday?", ["Tuesday", "3 days after Saturday is Tuesday"]),
        ("Which month is 2 months after December?", ["February", "2 months after December is February"]),
        ("Which letter of the alphabet comes right before B?", ["A"]),
        ("Write the number ninety-nine in digits.", ["99"]),
        ("Write the number 60 in words.", ["sixty"]),
        (
            "How many inches are in 2 feet?",
            ["24", "24 inches", "2 feet is 24 inches", "There are 24 inches in 2 feet"],
        ),
        ("What is the last letter of the word planet?", ["t", "The last letter of the word planet is t"]),
        ('What is the opposite of "cold"?', ["hot", "The opposite of cold is hot"]),
        (
            'What is the opposite of "hard"?',
            ["soft", "easy", "The opposite of hard is soft", "The opposite of hard is easy"],
        ),
        ("Oslo is the capital of which country?", ["Norway", "Oslo is the capital of Norway"]),
    ],
)
def test_answers(question, answers):
    assert {wording: accepted for _, _, wording, accepted in _questions()}[question] == answers


def test_every_second_opposite_is_asked_for():
    assert {*OTHER_OPPOSITES} <= {word for pair in OPPOSITES for word in pair}


def test_a_choice_lists_its_answer_under_its_letter():
    choices = [row for row in short_questions(600) if row["kind"] == "choice"]
    assert {row["solution"][0] for row in choices} == {"A", "B", "C"}
    for row in choices:
        assert row["solution"][1] in row["prompt"][-1]["content"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": "validation"}, "split is 'validation': set it to one of 'train', 'probe', 'test'"),
        ({"num_prompts": 0}, "num_prompts is 0, but the train split has .*set num_prompts between 1 and"),
        ({"num_prompts": 100_000}, "num_prompts between 1 and"),
    ],
)
def test_refuses_what_it_cannot_draw(settings, words):
    with pytest.raises(ValueError, match=words):
        short_questions(**{"num_prompts": 10, **settings})
