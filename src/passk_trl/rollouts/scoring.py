"""Scored rollouts from a trainer: sampled for probe prompts, or those its training batch has already.

Everything goes through the trainer's own generation and reward functions, and nothing of it is left behind in them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer
from trl.trainer.utils import is_async_callable

from .outcomes import are_binary, combine_rewards


def success_of(trainer: GRPOTrainer, rewards_NGF: Tensor, threshold: float | None) -> Tensor:
    """
    Success of rollouts, `(N, G)`: 0, 1, or NaN where unscorable.

    Raises:
        `ValueError`: if rewards are neither 0 nor 1 and no threshold is set, here or in the trainer's config.
    """
    if threshold is None:
        threshold = getattr(trainer.args, "success_threshold", None)
    rewards_NG = combine_rewards(rewards_NGF, trainer.reward_weights, threshold)
    if not are_binary(rewards_NG):
        other = next(
            reward for reward in rewards_NG.flatten().tolist() if reward not in (0.0, 1.0) and reward == reward
        )
        raise ValueError(
            f"a probe rollout has reward {other:g}, neither 0 nor 1; set success_threshold to the reward from which a "
            "completion counts as correct."
        )
    return rewards_NG


def _score(
    trainer: GRPOTrainer,
    inputs: list[dict[str, Any]],
    completions: list,
    completion_ids: list[list[int]],
    at_once: int,
) -> Tensor:
    """Rewards of this rank's inputs, `(B, functions)`, on the CPU."""
    rewards = []
    for start in range(0, len(inputs), at_once):
        part = slice(start, start + at_once)
        prompts = [row["prompt"] for row in inputs[part]]
        gathered = trainer._calculate_rewards(inputs[part], prompts, completions[part], completion_ids[part])
        first = trainer.accelerator.process_index * len(prompts)
        rewards.append(gathered[first : first + len(prompts)].cpu())
    return torch.cat(rewards)


@contextmanager
def _rewards_that_raise_late(trainer: GRPOTrainer) -> Iterator[None]:
    """TRL gathers the rewards of all ranks: one that raised before would leave the others waiting."""
    failures: list[Exception] = []
    functions = trainer.reward_funcs

    def noting(function: Any) -> Any:
        if isinstance(function, torch.nn.Module):
            return function
        if is_async_callable(function):

            async def noted_async(**kwargs: Any) -> list:
                try:
                    return _as_many(await function(**kwargs), kwargs["completions"])
                except Exception as error:
                    failures.append(error)
                    return [None] * len(kwargs["completions"])

            return noted_async

        def noted(**kwargs: Any) -> list:
            try:
                return _as_many(function(**kwargs), kwargs["completions"])
            except Exception as error:
                failures.append(error)
                return [None] * len(kwargs["completions"])

        return noted

    trainer.reward_funcs = [noting(function) for function in functions]
    try:
        yield
    finally:
        trainer.reward_funcs = functions
    if failures:
        raise failures[0]


def _as_many(rewards: list, completions: list) -> list[float | None]:
    if len(rewards) != len(completions):
        raise ValueError(f"a reward function returned {len(rewards)} rewards for {len(completions)} completions.")
    return [None if reward is None else float(reward) for reward in rewards]
