"""Verifiers: from completions and gold answers to rewards, one for each completion, as TRL calls them."""

from .code import CodeLimits, CodeReward, code_reward
from .exact_match import exact_match_reward
from .first_line import first_line_reward
from .loading import load_reward, load_rewards
from .mathematical import accuracy_reward
from .multiple_choice import multiple_choice_reward
from .quantity import quantity_reward
from .reasoning import reasoning_gym_reward
from .short_answer import short_answer_reward
from .token_f1 import token_f1_reward


__all__ = [
    "CodeLimits",
    "CodeReward",
    "accuracy_reward",
    "code_reward",
    "exact_match_reward",
    "first_line_reward",
    "load_reward",
    "load_rewards",
    "multiple_choice_reward",
    "quantity_reward",
    "reasoning_gym_reward",
    "short_answer_reward",
    "token_f1_reward",
]
