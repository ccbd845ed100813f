"""Whether a number is divisible: right answers, an example of each, splits that share no question."""

import re

import pytest

from passk_trl.tasks import SPLITS, divisibility, divisibility_splits


def is_divisible(line: str) -> bool:
    number, divisor = map(int, re.findall(r"\d+", line))
    return number % divisor == 0


def test_every_example_and_every_answer_is_right():
    for row in divisibility(300, seed=1):
        *examples, question = row["prompt"].split("\n")
        assert sorted(example.rpartition(" ")[2] for example in examples) == ["no", "yes"]
        for line in (*examples, f"{question} {row['solution']}"):
            assert is_divisible(line) == line.endswith(" yes")
        assert all(not example.startswith(question) for example in examples)


def test_no_question_is_in_two_splits_whatever_the_seeds():
    questions = [
        {row["prompt"].rpartition("\n")[2] for row in divisibility(400, seed, split)}
        for seed, split in enumerate(SPLITS)
    ]
    assert sum(map(len, questions)) == len(set.union(*questions))


def test_yes_has_its_share_and_prompts_differ():
    rows = divisibility(2000, yes_share=0.3)
    assert len(set(rows["prompt"])) == 2000
    assert abs(list(rows["kind"]).count("yes") / 2000 - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5
    assert divisibility(50, seed=3)[:] == divisibility(50, seed=3)[:] != divisibility(50, seed=4)[:]


def test_splits_that_a_recipe_names():
    sizes = {split: len(data) for split, data in divisibility_splits().items()}
    assert sizes == {"train": 2000, "probe": 1024, "test": 512}


def test_impossible_questions_are_refused():
    with pytest.raises(ValueError, match="split is 'dev': set it to one of 'train', 'probe', 'test'"):
        divisibility(1, split="dev")
    with pytest.raises(ValueError, match="yes_share is 2: set it between 0 and 1"):
        divisibility(1, yes_share=2)
