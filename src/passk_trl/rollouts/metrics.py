"""Which k are logged, and pass@k and pass^k of the groups of a batch."""

import torch
from torch import Tensor

from passk_trl.estimators import max_at_k, pass_at_k, pass_hat_k


def reported_ks(num_rollouts: int, *always: int) -> list[int]:
    """The k that are logged: 1, 2, 4 … up to the number of rollouts, that number, and `always` where within it."""
    powers = [2**i for i in range(num_rollouts.bit_length())]
    return sorted(k for k in {*powers, num_rollouts, *always} if k <= num_rollouts)


def passk_metrics(rewards_PG: Tensor, training_k: int, binary: bool) -> dict[str, float]:
    """
    Unbiased pass@k and pass^k of groups of rollouts, averaged over prompts. With real rewards, the expected maximum of
    k instead.

    A prompt with fewer than k scored rollouts is left out of the average for that k.

    Args:
        rewards_PG (`torch.Tensor`):
            Rewards of P prompts × G rollouts, NaN where unscorable.
        training_k (`int`):
            The k trained for, reported besides 1, 2, 4 … G.
        binary (`bool`):
            Whether all rewards of the run are 0 or 1. One batch alone may not show it.

    Returns:
        `dict[str, float]`: `passk/pass@{k}` and, for k above 1, where they differ, `passk/pass^{k}`, both in [0, 1];
        or `passk/max@{k}` if not `binary`. For each k for which at least one prompt has enough scored rollouts.

    Sources: Chen et al. 2021 (arXiv 2107.03374), eq. 1; Yao et al. 2024 (arXiv 2406.12045).
    """
    num_scored_P = (~rewards_PG.isnan()).sum(dim=1)
    ks = [k for k in reported_ks(rewards_PG.size(1), training_k) if k <= num_scored_P.max()]
    if not binary:
        return {f"passk/max@{k}": max_at_k(rewards_PG, k).nanmean().item() for k in ks}
    num_correct_P = rewards_PG.nansum(dim=1)
    metrics = {f"passk/pass@{k}": _mean(pass_at_k(num_scored_P, num_correct_P, k)) for k in ks}
    return metrics | {f"passk/pass^{k}": _mean(pass_hat_k(num_scored_P, num_correct_P, k)) for k in ks if k > 1}


def _mean(values_P: float | Tensor) -> float:
    return torch.as_tensor(values_P).nanmean().item()
