"""When a run has entered a conflict, told so that a run without one raises an alarm in at most 5%, however long it is.

A 95% interval errs in 5% of probes, so among many probes one errs almost surely. This module gathers evidence over the
probes instead. It is an e-process: a number that begins at 1 and is not expected to grow as long as there is no
conflict. By Ville's inequality it then reaches 20 in at most 1 of 20 runs, at whatever time one looks.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
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


def alarms(inner_products: Sequence[float], margins: Sequence[float], confidence: float = 0.95) -> list[Alarm]:
    r"""
    Where a run stands after each of its probes.

    A run begins without a conflict. Probe t gives an unbiased estimate I_t of the inner product, with an error. The
    e-process against "not below 0 so far" is a mixture over the probe s at which a conflict may have begun, with the
    weights 1/(s(s + 1)), and over how strong it is:

        E_t = Σ_{s ≤ t} M_s/(s(s + 1)) + 1/(t + 1),
        M_s = ∫_0^∞ 2φ(λ) exp(−λ Σ I_r/e_{r−1} − λ²/2 Σ e_r²/e_{r−1}²) dλ,   sums over r = s … t,

    with e_r the error of probe r. Once it reaches 1/(1 − confidence), the run is in conflict, and another e-process
    begins, against "not above 0 since". When that one reaches the same number, the run is out of conflict, and so on.

    The guarantee: given what came before, the prompts and rollouts of a probe are drawn anew, so E_t is a
    supermartingale in a run without a conflict, and at most 1 − confidence of such runs ever raise an alarm (Ville
    1939). It holds as far as I_t is normal with the error e_t. That is why each I_t is divided by the error of the
    probe before, and not by its own: an estimate that happens to be low has a small error of its own, and the quotient
    is biased towards a conflict. `benchmarks/alarms.py` shows the guarantee with estimates of probes. All probes draw
    from one dataset, so it is about the prompts in it. Probes of the training batch are of prompts that the weights
    have just been trained on, and it is not promised for them.

    Sources: Robbins 1970, Statistical methods related to the law of the iterated logarithm (the mixture over λ); Shin,
    Ramdas and Rinaldo 2024, E-detectors (the mixture over s); Ramdas et al. 2023, Game-theoretic statistics and safe
    anytime-valid inference.

    Args:
        inner_products (`Sequence[float]`):
            Estimates of ⟨∇J_k, ∇J_1⟩ of the probes in order; NaN counts as a probe that was not made.
        margins (`Sequence[float]`):
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
    if len(inner_products) != len(margins) or any(margin < 0 for margin in margins):
        raise ValueError(
            f"`margins` must be half the width of the interval of each of {len(inner_products)} inner products, 0 or "
            f"more, but got {list(margins)}."
        )
    values_T, variances_T = _in_units_of_the_probe_before(inner_products, margins, confidence)
    in_conflict, start, found = False, 0, []
    for probe in range(len(values_T)):
        sign = 1.0 if in_conflict else -1.0
        evidence = e_process(sign * values_T[start : probe + 1], variances_T[start : probe + 1])
        if evidence >= 1 / (1 - confidence):
            in_conflict, start = not in_conflict, probe + 1
        found.append(Alarm(in_conflict, evidence))
    return found


def _in_units_of_the_probe_before(
    inner_products: Sequence[float], margins: Sequence[float], confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """I_t/e_{t−1} and e_t²/e_{t−1}², each `(T,)`, the first probe in its own units; 0 where nothing was measured."""
    values_T, errors_T = np.asarray(inner_products, dtype=float), np.asarray(margins, dtype=float)
    errors_T = errors_T / norm.ppf((1 + confidence) / 2)
    measured_T = np.isfinite(values_T) & np.isfinite(errors_T)
    values_T, errors_T = np.where(measured_T, values_T, 0.0), np.where(measured_T, errors_T, 0.0)
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
