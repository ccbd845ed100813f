"""Reward functions by name: the package's own, those of TRL, and any import path."""

import importlib

from passk_trl.working_dir import importable_working_dir

from .code import code_reward
from .completions import RewardFunction
from .exact_match import exact_match_reward
from .first_line import first_line_reward
from .mathematical import accuracy_reward
from .multiple_choice import multiple_choice_reward
from .quantity import quantity_reward
from .reasoning import reasoning_gym_reward
from .short_answer import short_answer_reward
from .token_f1 import token_f1_reward


_OWN: dict[str, RewardFunction] = {
    "accuracy_reward": accuracy_reward,
    "code_reward": code_reward,
    "exact_match_reward": exact_match_reward,
    "first_line_reward": first_line_reward,
    "multiple_choice_reward": multiple_choice_reward,
    "quantity_reward": quantity_reward,
    "short_answer_reward": short_answer_reward,
    "token_f1_reward": token_f1_reward,
    "reasoning_gym_reward": reasoning_gym_reward,
}
_TRL = ("reasoning_accuracy_reward", "think_format_reward", "get_soft_overlong_punishment")


def load_reward(name: str) -> RewardFunction:
    """
    Look up a reward function by name.

    Args:
        name (`str`):
            A reward function of [`passk_trl.rewards`], such as `"accuracy_reward"`; a name that `trl grpo` knows
            (`"reasoning_accuracy_reward"`, `"think_format_reward"`, `"get_soft_overlong_punishment"`, the last with
            the values of `trl grpo`); or any dotted import path, such as `"my_lib.rewards.custom_reward"`. Modules in
            the working directory can be imported too, after installed ones, and import each other at their top.
            Importing one runs its code. If this package and TRL both have a name, it stands for this package's
            function, which also reads bare answers; TRL's own is `"trl.rewards.accuracy_reward"`.

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
    try:
        with importable_working_dir():
            reward = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # the module's own code runs here and may raise anything
        raise ImportError(
            f"Reward {path!r} cannot be imported ({type(error).__name__}: {error}): set reward_funcs to the path "
            "module.function of a function in the working directory or an installed package."
        ) from error
    if not callable(reward):
        raise ValueError(f"Reward {path!r} is a {type(reward).__name__}: set reward_funcs to the path of a function.")
    return reward
