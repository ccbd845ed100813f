"""Reward functions by name: the package's own, those of TRL, and any import path."""

import importlib
import os
import sys

from .code import code_reward
from .completions import RewardFunction
from .exact_match import exact_match_reward
from .mathematical import accuracy_reward


_OWN: dict[str, RewardFunction] = {
    "accuracy_reward": accuracy_reward,
    "code_reward": code_reward,
    "exact_match_reward": exact_match_reward,
}
_TRL = ("reasoning_accuracy_reward", "think_format_reward", "get_soft_overlong_punishment")


def load_reward(name: str) -> RewardFunction:
    """
    Look up a reward function by name.

    Args:
        name (`str`):
            `"accuracy_reward"`, `"code_reward"` or `"exact_match_reward"` of this package; one that `trl grpo` knows
            (`"reasoning_accuracy_reward"`, `"think_format_reward"`, `"get_soft_overlong_punishment"`, the last with
            the values of `trl grpo`); or any dotted import path, such as `"my_lib.rewards.custom_reward"`. Modules in
            the working directory can be imported too. Importing one runs its code. If this package and TRL both have
            a name, it stands for this package's function, which also reads bare answers; TRL's own is
            `"trl.rewards.accuracy_reward"`.

    Returns:
        `Callable`: The reward function.

    Raises:
        `ValueError`: If the name is neither known nor an import path, or what it names cannot be called.
        `ImportError`: If nothing can be imported from the import path.
    """
    if name in _OWN:
        return _OWN[name]
    if name in _TRL:
        return _trl_reward(name)
    if "." in name:
        return _imported_reward(name)
    known = ", ".join([*_OWN, *_TRL])
    raise ValueError(
        f"Unknown reward {name!r}: set reward_funcs to any of {known}, or an import path module.function."
    )


def load_rewards(names: list[str]) -> list[RewardFunction]:
    """Look up several reward functions, each by [`load_reward`]."""
    return [load_reward(name) for name in names]


def _trl_reward(name: str) -> RewardFunction:
    reward = getattr(importlib.import_module("trl.rewards"), name)
    if name == "get_soft_overlong_punishment":
        return reward(max_completion_len=1280, soft_punish_cache=256)  # the values of `trl grpo`
    return reward


def _imported_reward(path: str) -> RewardFunction:
    module_name, _, function_name = path.rpartition(".")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        reward = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # the module's own code runs here and may raise anything
        raise ImportError(
            f"Reward {path!r} cannot be imported ({type(error).__name__}: {error}): set reward_funcs to the path "
            "module.function of a function in the working directory or an installed package."
        ) from error
    if not callable(reward):
        raise ValueError(f"Reward {path!r} is a {type(reward).__name__}: set reward_funcs to the path of a function.")
    return reward
