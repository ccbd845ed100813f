"""A band that holds a whole curve over k: one critical value for all k, from a bootstrap over prompts."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from torch import Tensor

from passk_trl.interference.intervals import FEWEST_PROMPTS


__all__ = ["Band", "simultaneous_band"]

# Numbers that are resampled at a time: in float64, 2**22 of them take 32 MiB.
_NUMBERS_AT_A_TIME = 2**22


@dataclass(frozen=True)
class Band:
    """
    A curve over k = 1, 2 … K, and a band that holds the true curve at all these k at once.

    Args:
        value (`list[float]`): the mean over prompts at each k.
        low, high (`list[float]`, *optional*): the ends of the band at each k; `None` with fewer than eight prompts.
    """

    value: list[float]
    low: list[float] | None
    high: list[float] | None


def simultaneous_band(
    values_NK: Tensor,
    bounds: tuple[float, float],
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Band:
    """
    The mean over prompts of each column, and a band that holds all their expectations at once: a sup-t band with a
    critical value from a studentized bootstrap over prompts.

    The band is m_k ± q s_k with s_k² = (Σ_i (v_ik − m_k)² + (m_k − low)² + (high − m_k)²) / N². The last two terms are
    two made-up prompts, one at each bound. Without them, prompts that all have the same value would claim certainty,
    although the next prompt may differ. q is the quantile of max_k |m*_k − m_k| / s*_k over resamples, and never below
    the normal quantile of a single k.

    Args:
        values_NK (`torch.Tensor`):
            A number of each of N prompts at K values of k, float64.
        bounds (`tuple[float, float]`):
            The lowest and the highest number that is possible. The band stays within them.
        confidence (`float`, *optional*, defaults to `0.95`):
            How often the band holds the whole curve.
        num_resamples (`int`, *optional*, defaults to `10_000`):
            How often N prompts are drawn with replacement.
        seed (`int`, *optional*, defaults to `0`):
            Seed of these draws.

    Returns:
        [`Band`]

    Raises:
        `ValueError`: if `confidence` is not between 0 and 1.

    Sources: Montiel Olea & Plagborg-Møller 2019, Simultaneous confidence bands (sup-t); Hall 1988, Theoretical
    comparison of bootstrap confidence intervals (studentized); Agresti & Min 2005, Simple improved confidence
    intervals for comparing matched proportions (made-up observations).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not between 0 and 1: set a level such as 0.95.")
    values = values_NK.numpy()
    mean_K = values.mean(axis=0)
    if len(values) < FEWEST_PROMPTS:
        return Band(mean_K.tolist(), None, None)
    made_up_K = (mean_K - bounds[0]) ** 2 + (bounds[1] - mean_K) ** 2
    deviations_NK = values - mean_K
    error_K = np.sqrt((deviations_NK**2).sum(axis=0) + made_up_K) / len(values)
    largest = _largest_deviations(deviations_NK, made_up_K, num_resamples, seed)
    critical = max(float(np.quantile(largest, confidence)), NormalDist().inv_cdf((1 + confidence) / 2))
    low_K, high_K = (np.clip(mean_K + side * critical * error_K, *bounds) for side in (-1, 1))
    return Band(mean_K.tolist(), low_K.tolist(), high_K.tolist())


def _largest_deviations(deviations_NK: np.ndarray, made_up_K: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """Of each resample of the prompts, max_k |m*_k − m_k| / s*_k."""
    N = len(deviations_NK)
    squares_NK = deviations_NK**2
    rng = np.random.default_rng(seed)
    at_a_time = max(1, _NUMBERS_AT_A_TIME // max(deviations_NK.shape))
    largest = []
    for first in range(0, num_resamples, at_a_time):
        B = min(at_a_time, num_resamples - first)
        drawn_BN = rng.integers(N, size=(B, N)) + N * np.arange(B)[:, None]
        times_BN = np.bincount(drawn_BN.ravel(), minlength=B * N).reshape(B, N).astype(float)
        mean_BK = times_BN @ deviations_NK / N
        error_BK = np.sqrt(times_BN @ squares_NK - N * mean_BK**2 + made_up_K) / N
        largest.append((np.abs(mean_BK) / error_BK).max(axis=1))
    return np.concatenate(largest)
