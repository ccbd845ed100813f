"""Verifiers: from completions and gold answers to rewards, one for each completion, as TRL calls them."""

from .code import CodeLimits, CodeReward, code_reward
from .exact_match import exact_match_reward
from .loading import load_reward, load_rewards
from .mathematical import accuracy_reward


__all__ = [
    "CodeLimits",
    "CodeReward",
    "accuracy_reward",
    "code_reward",
    "exact_match_reward",
    "load_reward",
    "load_rewards",
]
