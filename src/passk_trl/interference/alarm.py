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

from .refusals import check_confidence


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


def alarms(z_scores: Sequence[float], confidence: float = 0.95) -> list[Alarm]:
    r"""
    Where a run stands after each of its probes.

    A run begins without a conflict. Each probe gives a z-score: a standard normal number if the inner product of the
    two gradients is 0, and a larger one in expectation if it is above 0. The e-process against "not below 0 so far" is
    a mixture over the probe s at which a conflict may have begun, with the weights 1/(s(s + 1)), and over how strong
    it is:

        E_t = Σ_{s ≤ t} M(z_s, …, z_t)/(s(s + 1)) + 1/(t + 1),
        M = ∫_0^∞ 2φ(λ) exp(−λ Σ z − λ² n/2) dλ   for n z-scores.

    Once it reaches 1/(1 − confidence), the run is in conflict, and another e-process begins, against "not above 0
    since". When that one reaches the same number, the run is out of conflict, and so on.

    The guarantee: given what came before, the prompts and rollouts of a probe are drawn anew, so E_t is a
    supermartingale in a run without a conflict, and at most 1 − confidence of such runs ever raise an alarm (Ville
    1939). It holds as far as the z-scores are standard normal, or larger in expectation; `benchmarks/alarms.py` shows
    it for those of probes. All probes draw from one dataset, so it is about the prompts in it. Probes of the training
    batch are of prompts that the weights have just been trained on, and it is not promised for them.

    Sources: Robbins 1970, Statistical methods related to the law of the iterated logarithm (the mixture over λ); Shin,
    Ramdas and Rinaldo 2024, E-detectors (the mixture over s); Ramdas et al. 2023, Game-theoretic statistics and safe
    anytime-valid inference.

    Args:
        z_scores (`Sequence[float]`):
            Of the probes in order; NaN counts as 0, a probe that says nothing.
        confidence (`float`, *optional*, defaults to `0.95`):
            1 less the share of runs without a conflict that may raise an alarm.

    Returns:
        `list[Alarm]`: one for each probe.

    Raises:
        `ValueError`: if `confidence` is not between 0 and 1.
    """
    check_confidence(confidence)
    in_conflict, start, found = False, 0, []
    for probe in range(len(z_scores)):
        signs = 1.0 if in_conflict else -1.0
        against_T = signs * np.nan_to_num(np.asarray(z_scores[start : probe + 1], dtype=float))
        evidence = e_process(against_T)
        if evidence >= 1 / (1 - confidence):
            in_conflict, start = not in_conflict, probe + 1
        found.append(Alarm(in_conflict, evidence))
    return found


def e_process(against_T: np.ndarray) -> float:
    """
    E_t of [`alarms`] after T numbers, each standard normal, or smaller in expectation, under what it is to refute. At
    most e^700.
    """
    T = len(against_T)
    sums_S, counts_S = np.cumsum(against_T[::-1]), np.arange(1, T + 1)  # of the latest 1, 2 … T numbers
    scale_S = 1 + counts_S
    log_mixture_S = math.log(2) - np.log(scale_S) / 2 + sums_S**2 / (2 * scale_S) + log_ndtr(sums_S / np.sqrt(scale_S))
    starts_S = counts_S[::-1]
    log_evidence = logsumexp([*(log_mixture_S - np.log(starts_S * (starts_S + 1.0))), -math.log(T + 1)])
    return math.exp(min(700.0, float(log_evidence)))
