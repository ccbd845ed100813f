"""Reward functions by name."""

import os
import sys

import pytest
import trl.rewards

from passk_trl.rewards import accuracy_reward, exact_match_reward, load_reward, load_rewards


def test_load_reward_by_name():
    assert load_rewards(["exact_match_reward", "accuracy_reward"]) == [exact_match_reward, accuracy_reward]
    assert load_reward("reasoning_accuracy_reward") is trl.rewards.reasoning_accuracy_reward
    assert load_reward("think_format_reward") is trl.rewards.think_format_reward
    assert load_reward("trl.rewards.accuracy_reward") is trl.rewards.accuracy_reward


def test_load_reward_gives_the_overlong_punishment_of_trl_grpo():
    punishment = load_reward("get_soft_overlong_punishment")
    assert punishment(completion_ids=[[0] * 1024, [0] * 1152, [0] * 1281]) == [0.0, -0.5, -1.0]


def test_load_reward_imports_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "house_rewards.py").write_text("def shorter(completions, **kwargs):\n    return [1.0]\nBONUS = 2\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    monkeypatch.chdir(tmp_path)
    assert load_reward("house_rewards.shorter")(["a"]) == [1.0]
    with pytest.raises(ValueError, match=r"'house_rewards.BONUS' is a int: set reward_funcs"):
        load_reward("house_rewards.BONUS")
    with pytest.raises(ImportError, match=r"'house_rewards.longer' cannot be imported .*set reward_funcs"):
        load_reward("house_rewards.longer")


@pytest.mark.parametrize("name", ["no_such_package.reward", ".reward", "passk_trl."])
def test_load_reward_refuses_a_path_that_cannot_be_imported(name):
    with pytest.raises(ImportError, match=r"cannot be imported .*set reward_funcs"):
        load_reward(name)


def test_load_reward_lists_the_known_names():
    with pytest.raises(ValueError, match=r"'acuracy_reward': set reward_funcs to any of accuracy_reward, code_reward"):
        load_reward("acuracy_reward")
