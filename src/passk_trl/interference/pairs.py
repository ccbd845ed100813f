"""Means over pairs of prompts, and their errors: the arithmetic that all measures of a probe share."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from passk_trl.estimators import prompt_weight, unbiased_prompt_weight

from .intervals import pooled_degrees, ratio_interval, student_ts
from .pair_sums import PairSums


Estimator = Literal["unbiased", "plugin"]


def weights_at(ks_K: Tensor, num_samples_N: Tensor, num_correct_N: Tensor, estimator: Estimator) -> Tensor:
    """Weight of each prompt in ∇J_k, `[K, N]`."""
    if estimator == "plugin":
        return torch.as_tensor(prompt_weight(num_correct_N / num_samples_N.double(), ks_K[:, None]))
    return torch.as_tensor(unbiased_prompt_weight(num_samples_N, num_correct_N, ks_K[:, None]))


class Jackknife(NamedTuple):
    """
    K statistics, and what they are without one part of the sample. There are M estimates of the Gram matrix: one, or
    as many as independent sketches.

    Attributes:
        value (`Tensor[K]`): the statistics.
        without_prompt (`Tensor[K, N]`): without each prompt.
        without_sketch (`Tensor[K, M]`): without each sketch; all 0 if M is 1.
    """

    value: Tensor
    without_prompt: Tensor
    without_sketch: Tensor

    def variance(self, other: "Jackknife | None" = None) -> tuple[Tensor, Tensor]:
        """The variance over prompts and that over sketches, each `[K]`; with another, the covariances."""
        other = other or self
        return (
            (_deviations(self.without_prompt) * _deviations(other.without_prompt)).sum(dim=1),
            (_deviations(self.without_sketch) * _deviations(other.without_sketch)).sum(dim=1),
        )

    def standard_error(self) -> tuple[Tensor, Tensor]:
        """The standard error and its degrees of freedom, each `[K]`."""
        prompts, sketches = self.without_prompt.size(1), self.without_sketch.size(1)
        of_prompts_K, of_sketches_K = self.variance()
        variance_K, degrees_K = pooled_degrees(of_prompts_K, prompts - 1, of_sketches_K, sketches - 1)
        return variance_K.sqrt(), degrees_K

    def covariance(self) -> Tensor:
        """Of the statistics with one another, over prompts and sketches together, `[K, K]`."""
        of_prompts_KN, of_sketches_KM = _deviations(self.without_prompt), _deviations(self.without_sketch)
        return of_prompts_KN @ of_prompts_KN.T + of_sketches_KM @ of_sketches_KM.T


def combined(function: Callable[..., Tensor], *statistics: Jackknife) -> Jackknife:
    """A function of statistics as a statistic: applied to the values, and to those without each part."""
    return Jackknife(*(function(*parts) for parts in zip(*statistics, strict=True)))


def pair_mean(pairs: PairSums, left_KC: Tensor, right_KC: Tensor) -> Jackknife:
    """
    Mean over pairs of prompts of left_i K_ij right_j, each prompt counted by its sampling weight. Both weights are
    those of the classes. One of the two sides may have one row.

    The sum without prompt j is the whole sum minus row j and column j, plus the corner, which was subtracted twice.
    """
    left_KN, right_KN = pairs.weighted(left_KC), pairs.weighted(right_KC)
    of_right_MKN = pairs.partners(right_KC)
    rows_KN, columns_KN = left_KN * of_right_MKN.mean(0), right_KN * pairs.partners(left_KC).mean(0)
    corner_KN = left_KN * right_KN * pairs.squares if pairs.self_pairs else torch.zeros_like(rows_KN)
    total_K = rows_KN.sum(-1)
    pairs_left_N = pairs.num_pairs - 2 * pairs.num_partners + (1 if pairs.self_pairs else 0)
    without_KN = (total_K[:, None] - rows_KN - columns_KN + corner_KN) / pairs_left_N
    each_KM = (left_KN * of_right_MKN).sum(-1).T / pairs.num_pairs
    return Jackknife(total_K / pairs.num_pairs, without_KN, _without_sketches(each_KM))


def known_error(values_K: Tensor, errors_K: Tensor) -> Tensor:
    """
    The standard errors of these means over pairs; NaN where mean and error are both 0. No pair of prompts then has a
    gradient and a weight. 0 is unbiased even so, but a sample without such a pair tells nothing of its error.
    """
    return torch.where((values_K == 0) & (errors_K == 0), math.nan, errors_K)


def _without_sketches(each_KM: Tensor) -> Tensor:
    """The mean of M estimates without each of them; 0 if there is but one."""
    sketches = each_KM.size(1)
    if sketches == 1:
        return torch.zeros_like(each_KM)
    return (each_KM.sum(dim=1, keepdim=True) - each_KM) / (sketches - 1)


def _deviations(without_KP: Tensor) -> Tensor:
    """The values without each of P parts, less their mean, scaled so that their squares add up to the variance."""
    parts = without_KP.size(1)
    return math.sqrt((parts - 1) / parts) * (without_KP - without_KP.mean(dim=1, keepdim=True))


def cosine_of(inner_product: Tensor, pass1_norm_squared: Tensor, norm_squared: Tensor) -> Tensor:
    """I_k / sqrt(S_1 S_k); NaN where an estimated squared norm is ≤ 0."""
    defined = (pass1_norm_squared > 0) & (norm_squared > 0)
    return torch.where(defined, inner_product / _length(pass1_norm_squared, norm_squared), math.nan)


def cosine_interval(inner: Jackknife, pass1: Jackknife, norm: Jackknife, confidence: float) -> tuple[Tensor, Tensor]:
    """
    The ends of the cosine's interval, `[K]`: Fieller's for I_k / sqrt(S_1 S_k), with the errors over prompts and
    sketches of both, cut at ±1 unless it is wholly beyond. NaN where it has no end, because the length of a gradient
    is lost in the noise.
    """
    length = combined(_length, pass1, norm)
    cosine_K = cosine_of(inner.value, pass1.value, norm.value)
    variances = inner.variance(), inner.variance(length), length.variance()  # each over prompts, over sketches
    of_prompts_K, of_sketches_K = (  # of I_k less the cosine times the length, whose expectation is 0
        inner_K - 2 * cosine_K * both_K + cosine_K.square() * length_K
        for inner_K, both_K, length_K in zip(*variances, strict=True)
    )
    prompts, sketches = inner.without_prompt.size(1), inner.without_sketch.size(1)
    _, degrees_K = pooled_degrees(of_prompts_K, prompts - 1, of_sketches_K, sketches - 1)
    variance_K, covariance_K, length_variance_K = (sum(each) / length.value.square() for each in variances)
    t_K = student_ts(confidence, degrees_K)
    low_K, high_K = ratio_interval(cosine_K, variance_K, covariance_K, length_variance_K, t_K)
    # No cosine is beyond ±1. An interval wholly beyond excludes them all, and stays as it is.
    beyond_K = (low_K > 1 + 1e-9) | (high_K < -1 - 1e-9)
    return torch.where(beyond_K, low_K, low_K.clamp(min=-1)), torch.where(beyond_K, high_K, high_K.clamp(max=1))


def _length(pass1_norm_squared: Tensor, norm_squared: Tensor) -> Tensor:
    """sqrt(S_1 S_k), by two square roots: the product of two small squared norms may underflow."""
    return pass1_norm_squared.clamp(min=0).sqrt() * norm_squared.clamp(min=0).sqrt()
