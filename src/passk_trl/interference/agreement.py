"""What the paper reads off a checkpoint besides the curve over k: easy and hard prompts, and what reweighting shifts.

Pure functions on what [`measure_interference`] takes and returns. Source: Barakat et al. 2026 (arXiv 2602.21189),
section 5 and Proposition 4.1; numbered equations are theirs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .measuring import measure_interference
from .pairs import Estimator
from .report import InterferenceReport


DELTAS_1 = (0.80, 0.85, 0.90)
"""The thresholds δ1 of the paper's section 5: easy prompts succeed more often."""


DELTAS_2 = (0.05, 0.10, 0.15)
"""The thresholds δ2 of the paper's section 5: hard prompts succeed less often."""


# Fewer prompts than this leave no pair when one is left out for the error bar.
_FEWEST_PROMPTS = 3


@dataclass(frozen=True)
class AgreementShift:
    """
    How weighting prompts as pass@k does moves their mean agreement with the pass@1 gradient, at one k.

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
        """E[w a] / E[w]: the mean agreement of prompts drawn in proportion to their weights (eq. 11); NaN if none has
        any."""
        return self.weighted_agreement / self.mean_weight if self.mean_weight > 0 else math.nan

    @property
    def inner_product_sum(self) -> float:
        """N E[w a]: the inner product as the paper prints it, a sum over prompts."""
        return self.num_prompts * self.weighted_agreement

    @property
    def inner_product_sum_error(self) -> float:
        """Standard error of `inner_product_sum`."""
        return self.num_prompts * self.standard_error


@dataclass(frozen=True)
class FilteredConflict:
    """
    The conflict among easy and hard prompts alone.

    Args:
        delta_1 (`float`): easy prompts succeed more often than this.
        delta_2 (`float`): hard prompts succeed less often than this, but at all.
        num_easy, num_hard (`int`): how many of each.
        shift ([`AgreementShift`], *optional*): `None` with fewer than three prompts.
    """

    delta_1: float
    delta_2: float
    num_easy: int
    num_hard: int
    shift: AgreementShift | None


def agreement_shift(report: InterferenceReport, k: float) -> AgreementShift:
    """
    The [`AgreementShift`] of a report at one of its k.

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


def easy_and_hard(
    num_correct: Tensor, num_samples: int | Tensor, delta_1: float, delta_2: float
) -> tuple[Tensor, Tensor]:
    """
    Which prompts are easy, c/n > δ1, and which are hard, 0 < c/n < δ2: the paper's D_{δ1,δ2} is their union.

    A prompt that was never solved is neither, although its success rate is below δ2: its estimated gradient is 0. The
    paper does not say so; the weights and counts it prints leave such prompts out (c = 1, 2 and 3 of 32 make up the
    whole of its hard set at δ2 = 0.10).

    Args:
        num_correct (`torch.Tensor` of shape `[N]`):
            Correct rollouts c of each prompt.
        num_samples (`int` or `torch.Tensor` of shape `[N]`):
            Rollouts n of each prompt.
        delta_1, delta_2 (`float`):
            The thresholds, δ2 at most δ1.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: easy and hard, bool of shape `[N]`.

    Raises:
        `ValueError`: if δ2 is above δ1 or one of them no success rate.
    """
    if not 0 <= delta_2 <= delta_1 <= 1:
        raise ValueError(
            f"delta_1={delta_1} and delta_2={delta_2} do not part easy from hard; set 0 <= delta_2 <= delta_1 <= 1."
        )
    success_N = num_correct.double() / num_samples
    return success_N > delta_1, (success_N > 0) & (success_N < delta_2)


def conflict_of_filtered(
    gram: Tensor,
    num_correct: Tensor,
    num_samples: int,
    k: float,
    estimator: Estimator = "plugin",
    deltas_1: Sequence[float] = DELTAS_1,
    deltas_2: Sequence[float] = DELTAS_2,
    confidence: float = 0.95,
) -> list[FilteredConflict]:
    """
    The conflict among the easy and hard prompts alone, for each pair of thresholds. Agreement is relative to the
    pass@1 gradient of the filtered prompts, as in the paper.

    Choosing prompts by the same rollouts that their gradients come from biases every estimate, `"unbiased"` weights
    included; it shows where the conflict sits, not whether there is one.

    Args:
        gram (`torch.Tensor` of shape `[N, N]` or `[M, N, N]`):
            As for [`measure_interference`].
        num_correct (`torch.Tensor` of shape `[N]`):
            Correct rollouts of each prompt.
        num_samples (`int`):
            Rollouts of each prompt.
        k (`float`):
            The k of the weights; the paper's is `num_samples`, which `"unbiased"` cannot have.
        estimator (`str`, *optional*, defaults to `"plugin"`):
            `"plugin"`, the paper's, or `"unbiased"`.
        deltas_1, deltas_2 (`Sequence[float]`, *optional*):
            Thresholds; the paper's by default.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the intervals.

    Returns:
        `list[FilteredConflict]`: one for each pair, δ1 in the outer loop.
    """
    gram_MNN = gram if gram.dim() == 3 else gram[None]
    cells = []
    for delta_1 in deltas_1:
        for delta_2 in deltas_2:
            easy_N, hard_N = easy_and_hard(num_correct, num_samples, delta_1, delta_2)
            kept = (easy_N | hard_N).nonzero().flatten()
            shift = None
            if len(kept) >= _FEWEST_PROMPTS:
                part = gram_MNN[:, kept][:, :, kept]
                report = measure_interference(part, num_correct[kept], num_samples, [k], confidence, estimator)
                shift = agreement_shift(report, k)
            cells.append(FilteredConflict(delta_1, delta_2, int(easy_N.sum()), int(hard_N.sum()), shift))
    return cells
