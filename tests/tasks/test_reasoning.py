"""Splits of reasoning-gym: no question in two of them, the same in every process, and each mistake one sentence."""

import hashlib
import json
import subprocess
import sys

import pytest

from passk_trl.tasks import reasoning, reasoning_gym_splits


SUMS = {"max_terms": 3, "max_digits": 1}
SMALL = {"train": 40, "probe": 16, "test": 16}


def questions(split) -> list[str]:
    return [prompt[0]["content"] for prompt in split["prompt"]]


def test_no_question_is_twice_even_where_all_that_there_are_are_used():
    settings = {"min_terms": 2, "max_terms": 2, "max_digits": 1}  # two digits and a sign: 200 questions
    splits = reasoning_gym_splits("chain_sum", settings, train=120, probe=40, test=40)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 120, "probe": 40, "test": 40}
    assert len({question for rows in splits.values() for question in questions(rows)}) == 200
    with pytest.raises(ValueError, match=r"no more than 200 different questions .* need 201: set"):
        reasoning_gym_splits("chain_sum", settings, train=121, probe=40, test=40)


def test_rows_have_what_the_reward_reads():
    row = reasoning_gym_splits("chain_sum", SUMS, **SMALL)["train"][0]
    entry = json.loads(row["entry"])
    assert row["prompt"] == [{"role": "user", "content": entry["question"]}]
    assert row["solution"] == entry["answer"] == str(eval(entry["metadata"]["expression"]))
    assert row["task"] == "chain_sum"
    assert json.loads(row["settings"]) == SUMS
    plain = reasoning_gym_splits("chain_sum", SUMS, **SMALL, chat=False)["train"][0]
    assert plain == {**row, "prompt": entry["question"]}


def test_the_seed_decides_and_test_and_probe_do_not_depend_on_train():
    splits = reasoning_gym_splits("chain_sum", SUMS, **SMALL)
    longer = reasoning_gym_splits("chain_sum", SUMS, **{**SMALL, "train": 80})
    other = reasoning_gym_splits("chain_sum", SUMS, **SMALL, seed=1)
    assert [splits[split][:] for split in splits] == [
        reasoning_gym_splits("chain_sum", SUMS, **SMALL)[split][:] for split in splits
    ]
    assert (splits["test"][:], splits["probe"][:]) == (longer["test"][:], longer["probe"][:])
    assert questions(splits["test"]) != questions(other["test"])


def test_every_process_makes_the_same_questions():
    """Though these tasks draw from sets, whose order is that of the process, or from Python's own generator."""
    tasks = "isomorphic_strings+list_functions+polynomial_multiplication+ransom_note+word_ladder"
    program = (
        "import hashlib; from passk_trl.tasks import reasoning_gym_splits\n"
        f"rows = reasoning_gym_splits({tasks!r}, train=0, probe=0, test=20)['test'][:]\n"
        "print(hashlib.sha256(repr(rows).encode()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    rows = reasoning_gym_splits(tasks, train=0, probe=0, test=20)["test"][:]
    assert other.stdout.split() == [hashlib.sha256(repr(rows).encode()).hexdigest()]


def test_a_mixture_has_each_part_by_its_weight():
    mixture = [
        {"task": "chain_sum", "weight": 2, "settings": SUMS},
        {"task": "leg_counting"},
        {"task": "chain_sum", "settings": {"max_digits": 2}},
    ]
    splits = reasoning_gym_splits(mixture=mixture, train=42, probe=16, test=0)
    assert [*splits] == ["train", "probe"]
    kinds = [(row["task"], row["settings"]) for row in splits["train"]]
    assert sorted(kinds.count(kind) for kind in set(kinds)) == [10, 11, 21]
    assert kinds.count(("chain_sum", json.dumps(SUMS))) == 21
    assert kinds[:21] != [("chain_sum", json.dumps(SUMS))] * 21  # shuffled
    assert set(reasoning_gym_splits("gcd+lcm", **SMALL)["probe"]["task"]) == {"gcd", "lcm"}


@pytest.mark.parametrize(
    ("size", "weights", "expected"),
    [(10, [1, 1], [5, 5]), (10, [1, 1, 1], [4, 3, 3]), (3, [0.5, 8], [0, 3]), (0, [1, 2], [0, 0]), (7, [2], [7])],
)
def test_shares_add_up(size, weights, expected):
    assert reasoning._shares(size, weights) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": "chainsum"}, "reasoning-gym has no task 'chainsum'; did you mean 'chain_sum'?"),
        ({"tasks": "chain_sum+"}, "reasoning-gym has no task ''; did you mean "),
        ({"tasks": "GCD"}, "reasoning-gym has no task 'GCD'; did you mean 'gcd'?"),
        ({"tasks": "puzzle24"}, "the task 'puzzle24' cannot be used, as reasoning-gym gives full score for any four "),
        ({"tasks": "composite"}, "the task 'composite' cannot be used, as it is a mixture of tasks: set "),
        (
            {"tasks": "chain_sum", "settings": {"max_term": 3}},
            "the task 'chain_sum' has no setting 'max_term'; did you mean 'max_terms'? it has min_terms, max_terms, "
            "min_digits, max_digits, allow_negation.",
        ),
        (
            {"tasks": "list_functions", "settings": {"x": 3}},
            "the task 'list_functions' has no setting 'x'; it has none.",
        ),
        ({"tasks": "gcd", "settings": {"seed": 3}}, "'seed' is no setting of 'gcd': set reasoning_gym.seed, and "),
        (
            {"tasks": "chain_sum", "settings": {"min_terms": 0}},
            "reasoning-gym refuses the settings {'min_terms': 0} of 'chain_sum': min_terms must be positive.",
        ),
        (
            {"tasks": "calendar_arithmetic", "settings": {"tasks": ["leap"]}},
            "reasoning-gym refuses the settings {'tasks': ['leap']} of 'calendar_arithmetic': Invalid tasks: leap. ",
        ),
        (
            {"tasks": "chain_sum", "settings": {"min_terms": "two"}},
            "the setting 'min_terms' of 'chain_sum' is 'two': Input should be a valid integer, ",
        ),
        ({"tasks": "gcd+lcm", "settings": {"max_value": 3}}, "reasoning_gym.settings are those of one task, not of "),
        ({}, "a task of reasoning-gym is named by dataset_name, as in reasoning_gym:chain_sum, or by "),
        ({"tasks": "gcd", "mixture": [{"task": "lcm"}]}, "a task of reasoning-gym is named by dataset_name, "),
        ({"mixture": []}, "reasoning_gym.mixture is a list of {task, weight, settings}: set settings in its parts."),
        (
            {"mixture": ["gcd"]},
            "reasoning_gym.mixture has the part 'gcd': set task, and optionally weight and settings.",
        ),
        ({"mixture": [{"task": "gcd", "wait": 1}]}, "reasoning_gym.mixture has the part {'task': 'gcd', 'wait': 1}: "),
        (
            {"mixture": [{"task": "gcd", "weight": 0}]},
            "the weight of 'gcd' in reasoning_gym.mixture is 0: set it above 0.",
        ),
        (
            {"mixture": [{"task": "gcd", "settings": 3}]},
            "the settings of 'gcd' are 3: set a block of keys.",
        ),
        ({"mixture": [{"task": 3}]}, "reasoning_gym.mixture has the part {'task': 3}: set task, "),
        (
            {"mixture": [{"task": "gcd", "weight": float("nan")}]},
            "the weight of 'gcd' in reasoning_gym.mixture is nan: set it above 0.",
        ),
        (
            {"mixture": [{"task": "gcd", "weight": float("inf")}, {"task": "lcm"}]},
            "the weight of 'gcd' in reasoning_gym.mixture is inf: set it above 0.",
        ),
        (
            {"mixture": [{"task": "gcd"}, {"task": "chian_sum", "weight": 0.0001}]},
            "no question of 'chian_sum' is in the splits of 1000, 256 and 256: set reasoning_gym.train, ",
        ),
        (
            {"tasks": "gcd", "train": 0, "probe": 0, "test": 0},
            "no question of 'gcd' is in the splits of 0, 0 and 0: set reasoning_gym.train, ",
        ),
        ({"tasks": "gcd", "train": -1}, "reasoning_gym.train is -1: set 0 or more questions."),
    ],
)
def test_each_mistake_is_one_sentence(arguments, message):
    with pytest.raises(ValueError) as refused:
        reasoning_gym_splits(**arguments)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_times_and_tuples_are_made_from_what_yaml_has():
    settings = {"max_time": "01:00", "task_types": ["time"]}
    splits = reasoning_gym_splits("time_intervals", settings, train=0, probe=0, test=8)
    assert len(splits["test"]) == 8


def test_a_question_that_takes_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(reasoning, "_SECONDS", 1)
    settings = {"min_disks": 30, "max_disks": 30}  # a solution has 2 to the power of 30 moves
    with pytest.raises(ValueError, match=r"no question of 'tower_of_hanoi' .*: it took more than 1 seconds or "):
        reasoning_gym_splits("tower_of_hanoi", settings, **SMALL)
    monkeypatch.undo()
    assert len(reasoning_gym_splits("gcd", **SMALL)["test"]) == 16


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(reasoning, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'reasoning-gym is not installed: pip install "passk-trl\[reasoning-gym\]"'):
        reasoning_gym_splits("gcd")
