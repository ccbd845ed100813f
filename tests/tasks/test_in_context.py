"""Sums after a few examples: right answers, splits that share no sum, shares that hold."""

from collections import Counter

import pytest

from passk_trl.rewards import first_line_reward
from passk_trl.tasks import SPLITS, WORDS, competing_formats, formats_splits, mixed_sums, sums_splits


def asked(prompt: str) -> tuple[int, int]:
    a, b = prompt.rpartition("\n")[2].removesuffix(" =").split(" + ")
    return int(a), int(b)


def as_number(answer: str) -> int:
    return WORDS.index(answer) if answer in WORDS else int(answer)


@pytest.mark.parametrize("task", [competing_formats, mixed_sums])
def test_every_example_and_every_answer_is_right(task):
    for row in task(300, seed=1):
        assert as_number(row["solution"]) == sum(asked(row["prompt"]))
        assert row["solution"] in WORDS or row["kind"] != "words"
        for example in row["prompt"].split("\n")[:-1]:
            question, _, answer = example.partition(" = ")
            assert as_number(answer) == sum(map(int, question.split(" + ")))
            assert as_number(answer) != as_number(row["solution"])


@pytest.mark.parametrize("task", [competing_formats, mixed_sums])
def test_no_sum_is_in_two_splits_whatever_the_seeds(task):
    """Nor in the other order: 3 + 4 and 4 + 3 are one."""
    sums = [
        {tuple(sorted(asked(row["prompt"]))) for row in task(400, seed, split)} for seed, split in enumerate(SPLITS)
    ]
    assert sum(map(len, sums)) == len(set.union(*sums))


@pytest.mark.parametrize("task", [competing_formats, mixed_sums])
def test_prompts_differ_and_follow_the_seed(task):
    one, again, other = task(200, seed=3), task(200, seed=3), task(200, seed=4)
    assert len(set(one["prompt"])) == 200
    assert one[:] == again[:]
    assert one["prompt"] != other["prompt"]


def test_the_minority_has_its_share():
    kinds = Counter(competing_formats(2000, words_share=0.25)["kind"])
    assert abs(kinds["words"] / 2000 - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5
    assert set(mixed_sums(20, hard_share=0)["kind"]) == {"easy"}


def test_the_wording_does_not_say_which_format_counts():
    for row in competing_formats(100):
        answers = [example.partition(" = ")[2] for example in row["prompt"].split("\n")[:-1]]
        assert sum(answer in WORDS for answer in answers) == 1


def test_splits_that_recipes_name():
    for splits in (formats_splits(), sums_splits()):
        assert {split: len(data) for split, data in splits.items()} == {"train": 2000, "probe": 1024, "test": 512}


@pytest.mark.parametrize("task", [competing_formats, mixed_sums])
def test_impossible_questions_are_refused(task):
    with pytest.raises(ValueError, match="split is 'dev': set it to one of 'train', 'probe', 'test'"):
        task(1, split="dev")
    with pytest.raises(ValueError, match="num_prompts is 0: set it to at least 1"):
        task(0)
    with pytest.raises(ValueError, match="share is 2: set it between 0 and 1"):
        task(1, 0, "train", 2)


def test_a_policy_that_goes_on_writing_is_judged_by_its_first_line():
    assert first_line_reward([" 11\n4 + 3", " eleven\n", "11 apples"], ["11", "eleven", "11"]) == [1.0, 1.0, 0.0]
