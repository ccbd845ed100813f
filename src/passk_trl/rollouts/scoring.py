"""Rewards and success of rollouts, from the trainer's own reward functions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from trl.trainer.utils import is_async_callable

from passk_trl.rollout_trainer import RolloutTrainer

from .success import success_of


def trainer_success(trainer: RolloutTrainer, rewards_PGF: Tensor, success_threshold: float | None) -> Tensor:
    """
    Success of rollouts with a trainer's reward weights, `(P, G)`: 0, 1, or NaN where unscorable.

    Raises:
        `ValueError`: if a reward is neither 0 nor 1 and no threshold is set, here or in the trainer's config.
    """
    if success_threshold is None:
        success_threshold = getattr(trainer.args, "success_threshold", None)
    return success_of(rewards_PGF, trainer.reward_weights, success_threshold)


def score_completions(
    trainer: RolloutTrainer,
    inputs: list[dict[str, Any]],
    completions: list,
    completion_ids: list[list[int]],
    at_once: int,
) -> Tensor:
    """
    Rewards of this rank's completions, scored in parts of `at_once`.

    Returns:
        `torch.Tensor`: `(B, F)` of B completions and F reward functions, on the CPU.

    Raises:
        `Exception`: what a reward function raised on this rank, once all ranks have scored.
    """
    rewards = []
    with _failures_after_scoring(trainer):
        for start in range(0, len(inputs), at_once):
            part = slice(start, start + at_once)
            prompts = [row["prompt"] for row in inputs[part]]
            gathered = trainer._calculate_rewards(inputs[part], prompts, completions[part], completion_ids[part])
            first = trainer.accelerator.process_index * len(prompts)
            rewards.append(gathered[first : first + len(prompts)].cpu())
    return torch.cat(rewards)


@contextmanager
def _failures_after_scoring(trainer: RolloutTrainer) -> Iterator[None]:
    """
    Raises what a reward function raised, but only at the end. TRL gathers the rewards of all ranks: a rank that raises
    before that would leave the others waiting.
    """
    failures: list[Exception] = []
    functions = trainer.reward_funcs
    trainer.reward_funcs = [_collecting(function, failures) for function in functions]
    try:
        yield
    finally:
        trainer.reward_funcs = functions
    if failures:
        raise failures[0]


def _collecting(function: Any, failures: list[Exception]) -> Any:
    """A reward function that adds what it raises to `failures`, and then returns no rewards."""
    if isinstance(function, torch.nn.Module):
        return function
    collecting: Callable
    if is_async_callable(function):

        async def collecting(**kwargs: Any) -> list:
            try:
                return _checked_rewards(await function(**kwargs), kwargs["completions"])
            except Exception as error:
                failures.append(error)
                return [None] * len(kwargs["completions"])

    else:

        def collecting(**kwargs: Any) -> list:
            try:
                return _checked_rewards(function(**kwargs), kwargs["completions"])
            except Exception as error:
                failures.append(error)
                return [None] * len(kwargs["completions"])

    return collecting


def _checked_rewards(rewards: list, completions: list) -> list[float | None]:
    if len(rewards) != len(completions):
        raise ValueError(f"a reward function returned {len(rewards)} rewards for {len(completions)} completions.")
    return [None if reward is None else float(reward) for reward in rewards]
