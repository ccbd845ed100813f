"""What became of the rollouts: one reward for each from those of all functions, their success, pass@k of groups."""

import torch
from torch import Tensor

from passk_trl.estimators import max_at_k


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
        `torch.Tensor`: rewards of shape `(P, G)` in the dtype of `rewards_PGF`; NaN where every function returned
        `None`, since such a rollout is unscorable.
    """
    rewards_PG = (rewards_PGF * reward_weights_F.to(rewards_PGF)).nansum(dim=-1)
    if success_threshold is not None:
        rewards_PG = (rewards_PG >= success_threshold).to(rewards_PGF.dtype)
    return rewards_PG.masked_fill(rewards_PGF.isnan().all(dim=-1), torch.nan)


def are_binary(rewards: Tensor) -> bool:
    """Whether every scored reward is 0 or 1."""
    return bool(((rewards == 0) | (rewards == 1) | rewards.isnan()).all())


def reported_ks(num_rollouts: int, *always: int) -> list[int]:
    """The k that are logged: 1, 2, 4 … up to the number of rollouts, that number, and `always` where within it."""
    powers = [2**i for i in range(num_rollouts.bit_length())]
    return sorted(k for k in {*powers, num_rollouts, *always} if k <= num_rollouts)


def passk_metrics(rewards_PG: Tensor, training_k: int, binary: bool) -> dict[str, float]:
    """
    Unbiased pass@k of groups of rollouts, averaged over prompts; with real rewards the expected maximum of k instead.

    A prompt with fewer than k scored rollouts is left out of the average for that k.

    Args:
        rewards_PG (`torch.Tensor`):
            Rewards of P prompts × G rollouts, NaN where unscorable.
        training_k (`int`):
            The k trained for, reported besides 1, 2, 4 … G.
        binary (`bool`):
            Whether rewards are 0 or 1 throughout the run, which one batch may not show.

    Returns:
        `dict[str, float]`: `passk/pass@{k}` in [0, 1], or `passk/max@{k}` if not `binary`, for each k that some prompt
        has enough scored rollouts for.

    Source: Chen et al. 2021 (arXiv 2107.03374), eq. 1.
    """
    kind = "pass" if binary else "max"  # on 0/1 rewards, max@k is pass@k
    enough = int((~rewards_PG.isnan()).sum(dim=1).max())
    return {
        f"passk/{kind}@{k}": max_at_k(rewards_PG, k).nanmean().item()
        for k in reported_ks(rewards_PG.size(1), training_k)
        if k <= enough
    }
