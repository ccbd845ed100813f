"""The reward as TRL calls it."""

import functools
import json
import pickle
import warnings

import pytest
from datasets import Dataset

from completions import message
from passk_trl.rewards import CodeLimits, CodeReward, code_reward, load_reward
from passk_trl.rollouts.checks import check_reward_columns
from programs import BRIEF


DOUBLE = ["assert double(4) == 8"]
RIGHT, WRONG = "def double(x): return 2 * x", "```python\ndef double(x): return x\n```"


def test_one_reward_for_each_completion():
    assert code_reward([RIGHT, WRONG, "I do not know."], test_list=[DOUBLE] * 3) == [1.0, 0.0, 0.0]
    assert code_reward([message(RIGHT), message(WRONG)], test_list=[DOUBLE] * 2) == [1.0, 0.0]
    assert code_reward([], test_list=[]) == []


def test_a_recipe_can_name_it():
    assert load_reward("code_reward") is code_reward
    assert pickle.loads(pickle.dumps(code_reward)) == code_reward


def test_rows_may_have_different_kinds_of_unit_tests():
    rewards = code_reward(
        [RIGHT, "    return 2 * x", "print(2 * int(input()))"],
        prompts=["", [{"role": "user", "content": "def double(x):\n    '''2 x'''\n"}], ""],
        test_list=[DOUBLE, None, None],
        test=[None, "def check(c): assert c(4) == 8", None],
        entry_point=[None, "double", None],
        input_output=[None, None, json.dumps({"inputs": ["4"], "outputs": ["8"]})],
        trainer_state=None,
    )
    assert rewards == [1.0, 1.0, 1.0]


def test_unit_tests_that_cannot_be_posed_are_left_out_with_one_warning():
    broken, failing = ["assert double(4 == 8"], ["import no_such_module\nassert double(4) == 8"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rewards = code_reward([RIGHT, WRONG, WRONG, RIGHT], test_list=[broken, broken, failing, DOUBLE])
    assert rewards == [None, None, None, 1.0]
    (warning,) = [each for each in caught if "code_reward" in str(each.message)]
    assert "leaves out 3 of 4 completions" in str(warning.message)
    assert "'assert double(4 == 8'" in str(warning.message)
    assert "and 1 other" in str(warning.message)


def test_verdicts_are_logged_as_shares_and_as_a_column():
    metrics, columns = {}, {}
    programs = [RIGHT, WRONG, "def double(x): return x / 0", "def double(x): while 1: pass", RIGHT + "\nx = 1"]
    code_reward(programs, test_list=[DOUBLE] * 5, log_metric=metrics.__setitem__, log_extra=columns.__setitem__)
    assert columns == {"verdict": ["passed", "wrong", "error", "error", "passed"]}
    assert metrics == {
        "code/passed": 0.4, "code/wrong": 0.2, "code/error": 0.4, "code/timeout": 0.0, "code/memory": 0.0,
        "code/unscorable": 0.0,
    }  # fmt: skip


def test_equal_programs_of_a_row_are_run_once():
    runs = []
    reward = CodeReward(sandbox=lambda program, tests, limits: runs.append(program) or "passed")
    other = ["assert double(5) == 10"]
    assert reward([RIGHT] * 5 + [WRONG], test_list=[DOUBLE] * 4 + [other] * 2) == [1.0] * 6
    assert len(runs) == 3


def test_limits_are_those_that_were_set():
    slow = "import time\ndef double(x):\n    time.sleep(1)\n    return 2 * x"
    assert CodeReward(limits=BRIEF)([slow], test_list=[DOUBLE]) == [1.0]
    assert CodeReward(limits=CodeLimits(seconds=0.5), at_once=1)([slow], test_list=[DOUBLE]) == [0.0]


def test_a_dataset_without_unit_tests_is_refused_before_training():
    rows = Dataset.from_list([{"prompt": "a", "tests": "b"}])
    with pytest.raises(ValueError, match="code_reward finds no unit tests in the columns"):
        check_reward_columns({"code_reward": code_reward}, rows)
    with pytest.raises(ValueError, match="code_reward finds no unit tests in the columns"):
        code_reward([RIGHT], tests=[DOUBLE])
    check_reward_columns({"code_reward": code_reward}, rows.rename_column("tests", "test_list"))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="at_once is 0: set it to at least 1"):
        CodeReward(at_once=0)


def test_settings_keep_the_name():
    assert CodeReward(at_once=2).__name__ == "code_reward"
    assert functools.partial(code_reward, log_metric=None).func.__name__ == "code_reward"
