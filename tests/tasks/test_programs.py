"""The programming tasks: seeded, disjoint between splits, and passed by their own solutions alone."""

import re
from itertools import combinations

import pytest

from passk_trl.rewards import code_reward
from passk_trl.tasks import PROGRAM_KINDS, SPLITS, programming_tasks, small_programs


LENGTHS = {"train": 2240, "probe": 480, "test": 480}


def everything(split, seed=0):
    return programming_tasks(LENGTHS[split], seed, split)


def test_same_seed_same_rows_other_seed_others():
    assert programming_tasks(50, seed=3).to_list() == programming_tasks(50, seed=3).to_list()
    assert programming_tasks(50, seed=3)["prompt"][:] != programming_tasks(50, seed=4)["prompt"][:]


def test_no_task_is_in_two_splits_and_none_is_asked_twice():
    asked = {split: [row[0]["content"] for row in everything(split)["prompt"]] for split in SPLITS}
    solved = {split: everything(split, seed=1)["solution"][:] for split in SPLITS}
    for rows in (asked, solved):
        assert all(len(set(rows[split])) == LENGTHS[split] for split in SPLITS)
        assert all(set(rows[one]).isdisjoint(rows[other]) for one, other in combinations(SPLITS, 2))


def test_no_two_tasks_ask_for_the_same_function():
    arguments = [*range(-20, 61), *([n] for n in range(-20, 61)), "abcdefghijklmnoprstu"]
    seen = set()
    for split in SPLITS:
        for solution in everything(split)["solution"]:
            known = {}
            exec(solution.removeprefix("```python").removesuffix("```"), known)
            seen.add(tuple(result_of(known["f"], argument) for argument in arguments))
    assert len(seen) == sum(LENGTHS.values())


def result_of(function, argument) -> str:
    try:
        return repr(function(argument))
    except (TypeError, AttributeError):
        return "another kind"


def test_every_kind_is_asked_about_equally_often():
    kinds = everything("train")["kind"][:]
    assert set(kinds) == set(PROGRAM_KINDS)
    assert all(0.8 < kinds.count(kind) * len(PROGRAM_KINDS) / len(kinds) < 1.2 for kind in PROGRAM_KINDS)


@pytest.mark.parametrize("split", SPLITS)
def test_solutions_pass_and_those_of_the_next_task_do_not(split):
    rows = programming_tasks(64, split=split)
    solutions = rows["solution"][:]
    assert code_reward(solutions, test_list=rows["test_list"][:]) == [1.0] * 64
    assert code_reward(solutions[1:] + solutions[:1], test_list=rows["test_list"][:]) == [0.0] * 64


@pytest.mark.parametrize(
    ("right", "nearly"),
    [
        ("n > ", "n >= "),  # above
        (r"min\((max\(x, \d+\)), \d+\)", r"\1"),  # at most
        (r"max\(x, \d+\)", "x"),  # at least
        (r"(x\.replace\(.*)\)$", r"\1, 1)"),  # each
        (r"^.*$", "x"),
    ],
)
def test_programs_that_are_nearly_right_fail(right, nearly):
    rows = [row for row in everything("probe") if re.search(right, expression(row))][:64]
    wrong = [f"def f(x):\n    return {re.sub(right, nearly, expression(row))}" for row in rows]
    assert len(wrong) > 30
    assert code_reward(wrong, test_list=[row["test_list"] for row in rows]) == [0.0] * len(wrong)


def expression(row) -> str:
    return row["solution"].partition("return ")[2].removesuffix("\n```")


def test_the_splits_that_a_recipe_loads():
    splits = small_programs()
    assert list(splits) == ["train", "probe", "test"]
    assert splits["probe"].to_list() == programming_tasks(400, split="probe").to_list()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_prompts": 9, "split": "validation"}, "'train', 'probe', 'test'"),
        ({"num_prompts": 0}, "between 1 and 2240"),
        ({"num_prompts": 481, "split": "test"}, "between 1 and 480"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        programming_tasks(**settings)
