"""Which k are logged, and the pass@k of the groups of a batch."""

from torch import Tensor

from passk_trl.estimators import max_at_k


def reported_ks(num_rollouts: int, *always: int) -> list[int]:
    """The k that are logged: 1, 2, 4 … up to the number of rollouts, that number, and `always` where within it."""
    powers = [2**i for i in range(num_rollouts.bit_length())]
    return sorted(k for k in {*powers, num_rollouts, *always} if k <= num_rollouts)


def passk_metrics(rewards_PG: Tensor, training_k: int, binary: bool) -> dict[str, float]:
    """
    Unbiased pass@k of groups of rollouts, averaged over prompts. With real rewards, the expected maximum of k instead.

    A prompt with fewer than k scored rollouts is left out of the average for that k.

    Args:
        rewards_PG (`torch.Tensor`):
            Rewards of P prompts × G rollouts, NaN where unscorable.
        training_k (`int`):
            The k trained for, reported besides 1, 2, 4 … G.
        binary (`bool`):
            Whether all rewards of the run are 0 or 1. One batch alone may not show it.

    Returns:
        `dict[str, float]`: `passk/pass@{k}` in [0, 1], or `passk/max@{k}` if not `binary`, for each k for which at
        least one prompt has enough scored rollouts.

    Source: Chen et al. 2021 (arXiv 2107.03374), eq. 1.
    """
    kind = "pass" if binary else "max"  # on 0/1 rewards, max@k is pass@k
    most_scored = int((~rewards_PG.isnan()).sum(dim=1).max())
    return {
        f"passk/{kind}@{k}": max_at_k(rewards_PG, k).nanmean().item()
        for k in reported_ks(rewards_PG.size(1), training_k)
        if k <= most_scored
    }
