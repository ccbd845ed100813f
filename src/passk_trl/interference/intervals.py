"""Confidence intervals: of a mean, of a ratio, and of a whole curve at once."""

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit
from torch import Tensor


FEWEST_PROMPTS = 8
"""With fewer prompts than this an error bar is too wide to mean anything."""

_BAND_DRAWS = 10_000


def student_t(confidence: float, degrees: float) -> float:
    """The t with P(|T| ≤ t) = confidence, where T has Student's distribution with `degrees` degrees of freedom."""
    return float(stdtrit(degrees, (1 + confidence) / 2))


def student_ts(confidence: float, degrees_K: Tensor) -> Tensor:
    """[`student_t`] for each of K degrees of freedom, `[K]`."""
    return torch.as_tensor(stdtrit(degrees_K.numpy(), (1 + confidence) / 2))


def pooled_degrees(
    variance_K: Tensor, degrees: int, other_variance_K: Tensor, other_degrees: int
) -> tuple[Tensor, Tensor]:
    """
    The sum of two independent estimates of variance, and its effective degrees of freedom, each `[K]`:
    (v + v')² / (v²/d + v'²/d'). Where both are 0, those of the first.

    Source: Welch 1947, The generalization of "Student's" problem; Satterthwaite 1946.
    """
    total_K = variance_K + other_variance_K
    share_K = torch.where(total_K > 0, variance_K / total_K, 1.0)  # of the sum: squares of variances may underflow
    inverse_K = share_K.square() / degrees
    if other_degrees > 0:
        inverse_K = inverse_K + (1 - share_K).square() / other_degrees
    return total_K, 1 / inverse_K


def ratio_interval(
    ratio_K: Tensor, variance_K: Tensor, covariance_K: Tensor, denominator_variance_K: Tensor, t_K: Tensor
) -> tuple[Tensor, Tensor]:
    """
    Fieller's interval of a ratio x/y: all ρ for which x − ρy is within t standard errors of 0.

    Args:
        ratio_K (`torch.Tensor`):
            x/y.
        variance_K, covariance_K, denominator_variance_K (`torch.Tensor`):
            Var(x)/y², Cov(x, y)/y² and Var(y)/y².
        t_K (`torch.Tensor`):
            Quantiles.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: its ends, `[K]`; NaN where y is within t standard errors of 0, since the
        interval then has no end.

    Source: Fieller 1954, Some problems in interval estimation.
    """
    squared_K = t_K.square()
    a_K = 1 - squared_K * denominator_variance_K
    b_K = ratio_K - squared_K * covariance_K
    c_K = ratio_K.square() - squared_K * variance_K
    root_K = (b_K.square() - a_K * c_K).clamp(min=0).sqrt()
    bounded_K = a_K > 0
    low_K, high_K = (b_K - root_K) / a_K, (b_K + root_K) / a_K
    return torch.where(bounded_K, low_K, math.nan), torch.where(bounded_K, high_K, math.nan)


def band_factor(covariance_KK: Tensor, degrees: float, confidence: float) -> float:
    """
    The c with which a curve stays within c standard errors of its estimate at all K points at once (sup-t), where the
    estimates have this covariance and are normal, and Student's t has `degrees` degrees of freedom. It is the
    quantile of 10,000 draws of the largest |t|, always the same ones.

    Source: Montiel Olea and Plagborg-Møller 2019, Simultaneous confidence bands.
    """
    se_K = covariance_KK.diagonal().sqrt()
    varies_K = se_K > 0
    scaled_KK = (covariance_KK / (se_K[:, None] * se_K))[varies_K][:, varies_K]
    alone = student_t(confidence, degrees)
    if len(scaled_KK) < 2:
        return alone
    values_K, vectors_KK = torch.linalg.eigh(scaled_KK)
    errors_DK = _normal_draws(len(scaled_KK)) @ (vectors_KK * values_K.clamp(min=0).sqrt()).T
    largest_D = errors_DK.abs().amax(dim=1) / _spread_of_errors(degrees)
    # One point alone is a lower limit, which draws may miss by chance.
    return max(alone, float(largest_D.quantile(confidence)))


@lru_cache(maxsize=8)
def _normal_draws(num_points: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(_BAND_DRAWS, num_points, generator=generator, dtype=torch.float64)


@lru_cache(maxsize=64)
def _spread_of_errors(degrees: float) -> Tensor:
    """Measured over true standard error: 10,000 evenly spaced quantiles, which meet the normal draws in any order."""
    normal_D = ndtri((np.arange(_BAND_DRAWS) + 0.5) / _BAND_DRAWS)
    # At 257 of them, and between these by a spline, whose error is 1e-8: exact quantiles of chi square are slow.
    along = np.linspace(normal_D[0], normal_D[-1], 257)
    spread = CubicSpline(along, np.sqrt(2 * gammaincinv(degrees / 2, ndtr(along)) / degrees))
    return torch.as_tensor(spread(normal_D))
