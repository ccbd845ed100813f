"""What chance does to means over prompts: bootstrap intervals and sign-flip tests, of several columns at once."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from passk_trl.interference.intervals import FEWEST_PROMPTS


__all__ = ["mean_intervals", "sign_flip_p_values"]

# Numbers that are held at once.
_AT_ONCE = 2**22


def mean_intervals(
    values_NK: Tensor, confidence: float, num_resamples: int, seed: int
) -> list[tuple[float | None, float | None]]:
    """
    Bias-corrected and accelerated (BCa) bootstrap intervals of the means over prompts.

    Args:
        values_NK (`torch.Tensor`):
            K numbers of each of N prompts, float64.
        confidence (`float`):
            Level of the intervals.
        num_resamples (`int`):
            Times that N prompts are drawn with replacement, the same for all columns.
        seed (`int`):
            Seed of these draws.

    Returns:
        `list[tuple[float | None, float | None]]`: low and high end for each column; `None` with fewer than eight
        prompts.

    Raises:
        `ValueError`: if `confidence` is no level.

    Source: Efron 1987, Better Bootstrap Confidence Intervals. The jackknife's skewness is here that of the values.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is no level; set a number between 0 and 1, such as 0.95.")
    N, K = values_NK.shape
    if N < FEWEST_PROMPTS:
        return [(None, None)] * K
    mean_K = values_NK.mean(dim=0)
    means_BK = _bootstrap_means(values_NK, num_resamples, seed)
    deviation_NK = values_NK - mean_K
    acceleration_K = deviation_NK.pow(3).sum(dim=0) / (6 * deviation_NK.square().sum(dim=0).pow(1.5))
    below_K = ((means_BK < mean_K).double() + (means_BK <= mean_K).double()).mean(dim=0) / 2
    bias_K = torch.special.ndtri(below_K)
    tails_2 = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    shifted_2K = bias_K + torch.special.ndtri(tails_2)[:, None]
    levels_2K = torch.special.ndtr(bias_K + shifted_2K / (1 - acceleration_K * shifted_2K))
    varies_K = deviation_NK.abs().amax(dim=0) > 1e-12  # else there is no skewness, and all resamples are the same
    levels_2K = torch.where(varies_K, levels_2K, 0.5)
    ends_2K = [means_BK[:, column].quantile(levels_2K[:, column]).tolist() for column in range(K)]
    return [(low, high) for low, high in ends_2K]


def sign_flip_p_values(differences_NK: Tensor, num_resamples: int, seed: int) -> list[float]:
    """
    Two-sided tests that the mean of each column is 0, by how often it is as far from 0 with signs drawn at random.

    Args:
        differences_NK (`torch.Tensor`):
            K differences of each of N prompts, float64.
        num_resamples (`int`):
            Draws of all signs; every one of the 2^N is taken instead if these are no more.
        seed (`int`):
            Seed of these draws.

    Returns:
        `list[float]`: a p-value for each column.
    """
    least_K = differences_NK.sum(dim=0).abs() - 1e-9  # sums of the same numbers may differ in their last digits
    num_flips, num_as_far_K = 0, torch.zeros_like(least_K)
    for signs_BN in _signs(len(differences_NK), num_resamples, seed):
        num_flips += len(signs_BN)
        num_as_far_K += ((signs_BN @ differences_NK).abs() >= least_K).sum(dim=0)
    return (num_as_far_K / num_flips).tolist()


def _bootstrap_means(values_NK: Tensor, num_resamples: int, seed: int) -> Tensor:
    N = len(values_NK)
    rng = np.random.default_rng(seed)
    means = []
    for size in _sizes(num_resamples, N):
        drawn = rng.integers(N, size=(size, N)) + N * np.arange(size)[:, None]
        times_drawn_BN = np.bincount(drawn.ravel(), minlength=size * N).reshape(size, N)
        means.append(torch.from_numpy(times_drawn_BN).double() @ values_NK / N)
    return torch.cat(means)


def _signs(N: int, num_resamples: int, seed: int) -> Iterator[Tensor]:
    """Signs of N prompts, `(B, N)`: all there are, or those that were met and others at random."""
    if num_resamples >= 2**N:
        bits_BN = np.arange(2**N)[:, None] >> np.arange(N) & 1
        yield torch.from_numpy(1.0 - 2.0 * bits_BN)
        return
    yield torch.ones(1, N, dtype=torch.float64)
    rng = np.random.default_rng(seed)
    for size in _sizes(num_resamples, N):
        yield torch.from_numpy(1.0 - 2.0 * rng.integers(2, size=(size, N)))


def _sizes(num_resamples: int, N: int) -> Iterator[int]:
    """Parts of the resamples that are drawn at once."""
    at_once = max(1, _AT_ONCE // N)
    for first in range(0, num_resamples, at_once):
        yield min(at_once, num_resamples - first)
