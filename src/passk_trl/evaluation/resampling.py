"""Bootstrap intervals and sign-flip tests of means over prompts, for several columns at once."""

import numpy as np
import scipy.stats
from torch import Tensor

from passk_trl.interference.intervals import FEWEST_PROMPTS


__all__ = ["mean_intervals", "sign_flip_p_values"]

# Numbers that are resampled at a time: in float64, 2**22 of them take 32 MiB.
_NUMBERS_AT_A_TIME = 2**22


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
            How often N prompts are drawn with replacement. All columns share these draws.
        seed (`int`):
            Seed of these draws.

    Returns:
        `list[tuple[float | None, float | None]]`: low and high end for each column. Both are `None` with fewer than
        eight prompts, and both are the mean where all prompts have the same number.

    Raises:
        `ValueError`: if `confidence` is not between 0 and 1.

    Source: Efron 1987, Better Bootstrap Confidence Intervals.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not between 0 and 1: set a level such as 0.95.")
    N, K = values_NK.shape
    if N < FEWEST_PROMPTS:
        return [(None, None)] * K
    values_KN = values_NK.T.contiguous().numpy()
    mean_K1, range_K1 = values_KN.mean(axis=1, keepdims=True), np.ptp(values_KN, axis=1, keepdims=True)
    ends_2K = np.stack([mean_K1[:, 0]] * 2)
    varies_K = range_K1[:, 0] > 1e-12  # BCa is not defined for equal numbers
    if varies_K.any():
        mean_K1, range_K1 = mean_K1[varies_K], range_K1[varies_K]
        # In units of their range, so that rounding leaves small differences: pass@k of easy prompts is 1 - 1e-10.
        result = scipy.stats.bootstrap(
            ((values_KN[varies_K] - mean_K1) / range_K1,),
            _mean,
            n_resamples=num_resamples,
            batch=_batch_size(values_KN),
            vectorized=True,
            axis=1,
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
        ends_2K[:, varies_K] = mean_K1[:, 0] + range_K1[:, 0] * np.stack(result.confidence_interval)
    return list(zip(*ends_2K.tolist(), strict=True))


def sign_flip_p_values(differences_NK: Tensor, num_resamples: int, seed: int) -> list[float]:
    """
    Two-sided tests that the mean of each column is 0. The p-value is the share of random signs that leave the mean at
    least as far from 0.

    Args:
        differences_NK (`torch.Tensor`):
            K differences of each of N prompts, float64.
        num_resamples (`int`):
            Random draws of all signs. If there are no more than this many, all 2^N are taken instead.
        seed (`int`):
            Seed of these draws.

    Returns:
        `list[float]`: a p-value for each column.
    """
    if len(differences_NK) == 1:  # either sign is as far from 0, and scipy asks for two prompts
        return [1.0] * differences_NK.size(1)
    differences_KN = differences_NK.T.contiguous().numpy()
    result = scipy.stats.permutation_test(
        (differences_KN,),
        _distance_from_zero,
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_resamples,
        batch=_batch_size(differences_KN),
        alternative="greater",  # "two-sided" would double one tail, which random signs make larger than both together
        axis=1,
        rng=np.random.default_rng(seed),
    )
    return result.pvalue.tolist()


def _batch_size(values_KN: np.ndarray) -> int:
    return max(1, _NUMBERS_AT_A_TIME // values_KN.size)


# Both are rounded: sums of the same numbers in another order differ in their last digits, and must count as ties.


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    return values.mean(axis=axis).round(12)


def _distance_from_zero(differences: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(differences.mean(axis=axis)).round(12)
