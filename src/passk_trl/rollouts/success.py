"""From the rewards of several functions to one reward for each rollout, and to success: 0 or 1."""

import torch
from torch import Tensor


def combine_rewards(rewards_PGF: Tensor, reward_weights_F: Tensor, success_threshold: float | None = None) -> Tensor:
    """
    One reward for each rollout: the weighted sum over the reward functions, as TRL forms it.

    Args:
        rewards_PGF (`torch.Tensor`):
            Rewards of P prompts × G rollouts from F reward functions; NaN where a function returned `None`.
        reward_weights_F (`torch.Tensor`):
            Weight of each reward function.
        success_threshold (`float`, *optional*):
            If given, the sum becomes 1 where it is at least this and 0 elsewhere.

    Returns:
        `torch.Tensor`: rewards of shape `(P, G)` in the dtype of `rewards_PGF`. NaN where a rollout is unscorable.
    """
    rewards_PG = (rewards_PGF * reward_weights_F.to(rewards_PGF)).nansum(dim=-1)
    if success_threshold is not None:
        rewards_PG = (rewards_PG >= success_threshold).to(rewards_PGF.dtype)
    return rewards_PG.masked_fill(are_unscorable(rewards_PGF, reward_weights_F), torch.nan)


def are_unscorable(rewards_F: Tensor, reward_weights_F: Tensor) -> Tensor:
    """
    Whether every reward function that counts returned `None`. One of weight 0 is only logged, so it scores nothing.

    Args:
        rewards_F (`torch.Tensor`):
            Rewards from F reward functions in the last dimension; NaN where a function returned `None`.
        reward_weights_F (`torch.Tensor`):
            Weight of each reward function.

    Returns:
        `torch.Tensor`: bools of the shape of `rewards_F` without its last dimension.
    """
    return (rewards_F.isnan() | (reward_weights_F.to(rewards_F) == 0)).all(dim=-1)


def are_binary(rewards: Tensor) -> bool:
    """Whether every scored reward is 0 or 1."""
    return bool(((rewards == 0) | (rewards == 1) | rewards.isnan()).all())


def success_of(rewards_PGF: Tensor, reward_weights_F: Tensor, success_threshold: float | None) -> Tensor:
    """
    Success of rollouts.

    Args:
        rewards_PGF, reward_weights_F, success_threshold:
            As for [`combine_rewards`].

    Returns:
        `torch.Tensor`: `(P, G)`: 0, 1, or NaN where a rollout is unscorable.

    Raises:
        `ValueError`: if a reward is neither 0 nor 1, which happens only without a threshold.
    """
    rewards_PG = combine_rewards(rewards_PGF, reward_weights_F, success_threshold)
    if not are_binary(rewards_PG):
        scored = rewards_PG[~rewards_PG.isnan()].tolist()
        other = next(reward for reward in scored if reward not in (0.0, 1.0))
        raise ValueError(
            f"a rollout has reward {other:g}, neither 0 nor 1; set success_threshold to the reward from which a "
            "completion counts as correct."
        )
    return rewards_PG
