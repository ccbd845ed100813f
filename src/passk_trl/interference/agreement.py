"""How far the weights of pass@k shift the prompts' mean agreement with the pass@1 gradient, as the paper prints it.

Source: Barakat et al. 2026 (arXiv 2602.21189), section 5 and Proposition 4.1; numbered equations are theirs.
"""

import math
from dataclasses import dataclass

from .interference_report import InterferenceReport


@dataclass(frozen=True)
class AgreementShift:
    """
    How the weights of pass@k change the prompts' mean agreement with the pass@1 gradient, at one k.

    Args:
        k (`float`): the k of the weights.
        num_prompts (`int`): N.
        mean_agreement (`float`): E[a], the estimate of ‖∇J_1‖².
        weighted_agreement (`float`): E[w a] = ⟨∇J_k, ∇J_1⟩ (eq. 9), an expectation over prompts.
        standard_error (`float`): of `weighted_agreement`.
        low, high (`float`): its confidence interval.
        mean_weight (`float`): E[w].
    """

    k: float
    num_prompts: int
    mean_agreement: float
    weighted_agreement: float
    standard_error: float
    low: float
    high: float
    mean_weight: float

    @property
    def shift(self) -> float:
        """E[w a] − E[a]: the shift that the paper prints."""
        return self.weighted_agreement - self.mean_agreement

    @property
    def reweighted_mean(self) -> float:
        """E[w a] / E[w]: the mean agreement of prompts drawn in proportion to their weights (eq. 11); NaN if all
        weights are 0."""
        return self.weighted_agreement / self.mean_weight if self.mean_weight > 0 else math.nan

    @property
    def inner_product_sum(self) -> float:
        """N E[w a]: the inner product as the paper prints it, a sum over prompts."""
        return self.num_prompts * self.weighted_agreement

    @property
    def inner_product_sum_error(self) -> float:
        """Standard error of `inner_product_sum`."""
        return self.num_prompts * self.standard_error


def agreement_shift(report: InterferenceReport, k: float) -> AgreementShift:
    """
    The [`AgreementShift`] of a report at one of its k.

    Args:
        report ([`InterferenceReport`]):
            From [`measure_interference`].
        k (`float`):
            One of `report.ks`.

    Returns:
        [`AgreementShift`].

    Raises:
        `ValueError`: if k was not measured.
    """
    at_k = report.at(k)
    return AgreementShift(
        k=k,
        num_prompts=len(report.agreement),
        mean_agreement=report.pass1_norm_squared,
        weighted_agreement=float(report.inner_product[at_k]),
        standard_error=float(report.inner_product_se[at_k]),
        low=float(report.inner_product_low[at_k]),
        high=float(report.inner_product_high[at_k]),
        mean_weight=float(report.mean_weight[at_k]),
    )
