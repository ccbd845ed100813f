"""Verifiers: from completions and gold answers to rewards, one for each completion, as TRL calls them."""

from .exact_match import exact_match_reward
from .loading import load_reward, load_rewards
from .mathematical import accuracy_reward
from .reasoning import reasoning_gym_reward


__all__ = ["accuracy_reward", "exact_match_reward", "load_reward", "load_rewards", "reasoning_gym_reward"]
