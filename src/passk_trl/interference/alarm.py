"""When a run has entered a conflict, told so that a run without one raises an alarm in at most 5%, however long it is.

A 95% interval errs in 5% of probes, so among many probes one errs almost surely. This module gathers evidence over the
probes instead. It is an e-process: a number that begins at 1 and is not expected to grow as long as there is no
conflict. By Ville's inequality it then reaches 20 in at most 1 of 20 runs, at whatever time one looks.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, logsumexp
from scipy.stats import norm

from .refusals import check_confidence


_FARTHEST = 30.0  # standard errors that a probe can be from 0


class Alarm(NamedTuple):
    """
    Where a run stands after a probe.

    Attributes:
        in_conflict (`bool`): whether the run is in conflict.
        evidence (`float`): the evidence that the state before this probe no longer holds. From 1 / (1 − confidence)
            on, 20 at 95%, `in_conflict` changes.
    """

    in_conflict: bool
    evidence: float


def alarms(inner_products: ArrayLike, margins: ArrayLike, confidence: float = 0.95) -> list[Alarm]:
    r"""
    Where a run stands after each of its probes.

    A run begins without a conflict. Probe t gives an unbiased estimate I_t of the inner product, with an error. The
    e-process against "not below 0 so far" is a mixture over the probe s at which a conflict may have begun, with the
    weights 1/(s(s + 1)), and over how strong it is:

        E_t = Σ_{s ≤ t} M_s/(s(s + 1)) + 1/(t + 1),
        M_s = ∫_0^∞ 2φ(λ) exp(−λ Σ I_r/e_{r−1} − λ²/2 Σ e_r²/e_{r−1}²) dλ,   sums over r = s … t,

    with e_r the error of probe r. Once it reaches 1/(1 − confidence), the run is in conflict, and another e-process
    begins, against "not above 0 since". When that one reaches the same number, the run is out of conflict, and so on.

    A ride has J series in the place of one. By default it looks at the first 128, 256 … 2,048 prompts of each block,
    and its looks of one size are a series. Each series has an e-process. E is the largest of them over J, so it begins
    at 1/J. Looks of one series share no prompts, and those of different series may. A block's looks after a change
    hold the prompts that caused it, which only delays the next change.

    The guarantee: given what came before, the prompts and rollouts of a probe are drawn anew, so E_t is a
    supermartingale in a run without a conflict, and at most 1 − confidence of such runs ever raise an alarm (Ville
    1939). Each of J series alone reaches J/(1 − confidence) in at most 1/J of as many. This holds as far as I_t is
    normal with the error e_t. That is why each I_t is divided by the error of the probe before, and not by its own: an
    estimate that happens to be low has a small error of its own, and the quotient is biased towards a conflict.
    `benchmarks/alarms.py` shows the guarantee with estimates of probes and with looks of rides. All probes draw from
    one dataset, so it is about the prompts in it. Probes of the training batch are of prompts that the weights have
    just been trained on, and it is not promised for them.

    Sources: Robbins 1970, Statistical methods related to the law of the iterated logarithm (the mixture over λ); Shin,
    Ramdas and Rinaldo 2024, E-detectors (the mixture over s); Ramdas et al. 2023, Game-theoretic statistics and safe
    anytime-valid inference.

    Args:
        inner_products (array-like of `float`, `(T,)` or `(T, J)`):
            Estimates of ⟨∇J_k, ∇J_1⟩ of the probes in order, or of J series of looks; NaN is one that was not made.
        margins (array-like of `float`, as many):
            Half the widths of their intervals at the level `confidence`. The e of a probe is the standard error that a
            normal interval of this width has.
        confidence (`float`, *optional*, defaults to `0.95`):
            1 less the share of runs without a conflict that may raise an alarm.

    Returns:
        `list[Alarm]`: one for each probe.

    Raises:
        `ValueError`: if `confidence` is not between 0 and 1, or a margin is negative or missing.
    """
    check_confidence(confidence)
    values, margins = (np.asarray(each, dtype=float) for each in (inner_products, margins))
    if values.shape != margins.shape or (margins < 0).any():
        raise ValueError(
            f"`margins` must be half the width of the interval of each of {values.size} inner products, 0 or more, "
            f"but got {margins.tolist()}."
        )
    values_TJ, margins_TJ = (each[:, None] if each.ndim == 1 else each for each in (values, margins))
    series = [_Series.of(*columns, confidence) for columns in zip(values_TJ.T, margins_TJ.T, strict=True)]
    in_conflict, start, found = False, 0, []
    evidence_J = np.ones(len(series))
    for probe in range(len(values)):
        sign = 1.0 if in_conflict else -1.0
        for j, each in enumerate(series):
            if probe in each.made_L:
                evidence_J[j] = each.evidence(sign, start, probe)
        evidence = float(evidence_J.max()) / len(series)
        if evidence >= 1 / (1 - confidence):
            in_conflict, start = not in_conflict, probe + 1
            evidence_J[:] = 1.0
        found.append(Alarm(in_conflict, evidence))
    return found


class _Series(NamedTuple):
    """The looks of a series that were made: when, and their numbers in units of the error of the look before."""

    made_L: np.ndarray
    values_L: np.ndarray
    variances_L: np.ndarray

    @classmethod
    def of(cls, values_T: np.ndarray, margins_T: np.ndarray, confidence: float) -> "_Series":
        is_made_T = np.isfinite(values_T) & np.isfinite(margins_T)
        errors_L = margins_T[is_made_T] / norm.ppf((1 + confidence) / 2)
        return cls(is_made_T.nonzero()[0], *_in_units_of_the_look_before(values_T[is_made_T], errors_L))

    def evidence(self, sign: float, start: int, last: int) -> float:
        """Of the looks that were made from `start` to `last`."""
        looks = slice(*np.searchsorted(self.made_L, [start, last + 1]))
        return e_process(sign * self.values_L[looks], self.variances_L[looks])


def _in_units_of_the_look_before(values_T: np.ndarray, errors_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """I_t/e_{t−1} and e_t²/e_{t−1}², each `(T,)`, the first in its own units."""
    # An error of 0 is one of identical prompts. It is told from nothing by the smallest of numbers.
    errors_T = np.maximum(errors_T, np.abs(values_T) / _FARTHEST)
    units_T = errors_T.copy()
    for probe in range(1, len(units_T)):
        if units_T[probe - 1] > 0:
            units_T[probe] = errors_T[probe - 1] if errors_T[probe - 1] > 0 else units_T[probe - 1]
    units_T = np.where(units_T > 0, units_T, 1.0)
    return values_T / units_T, (errors_T / units_T) ** 2


def e_process(against_T: np.ndarray, variances_T: np.ndarray) -> float:
    """
    E_t of [`alarms`] after T numbers with these variances, each normal with mean 0 or less under what it is to refute.
    At most e^700.
    """
    T = len(against_T)
    sums_S, scale_S = np.cumsum(against_T[::-1]), 1 + np.cumsum(variances_T[::-1])  # of the latest 1, 2 … T numbers
    log_mixture_S = math.log(2) - np.log(scale_S) / 2 + sums_S**2 / (2 * scale_S) + log_ndtr(sums_S / np.sqrt(scale_S))
    starts_S = np.arange(T, 0, -1)
    log_evidence = logsumexp([*(log_mixture_S - np.log(starts_S * (starts_S + 1.0))), -math.log(T + 1)])
    return math.exp(min(700.0, float(log_evidence)))
