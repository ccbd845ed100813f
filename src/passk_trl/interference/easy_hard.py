"""The conflict among easy and hard prompts alone, for several thresholds of what is easy and what is hard.

Source: Barakat et al. 2026 (arXiv 2602.21189), section 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .agreement import AgreementShift, agreement_shift
from .measuring import measure_interference
from .pairs import Estimator
from .sample import SMALLEST_SAMPLE, ProbeSample


DELTAS_1 = (0.80, 0.85, 0.90)
"""The thresholds δ1 of the paper's section 5: easy prompts succeed more often."""


DELTAS_2 = (0.05, 0.10, 0.15)
"""The thresholds δ2 of the paper's section 5: hard prompts succeed less often."""


@dataclass(frozen=True)
class FilteredConflict:
    """
    The conflict among easy and hard prompts alone.

    Args:
        delta_1 (`float`): easy prompts succeed more often than this.
        delta_2 (`float`): hard prompts succeed less often than this, but at least once.
        num_easy, num_hard (`int`): how many of each.
        shift ([`AgreementShift`], *optional*): `None` with fewer than three prompts.
    """

    delta_1: float
    delta_2: float
    num_easy: int
    num_hard: int
    shift: AgreementShift | None


def easy_and_hard(
    num_correct: Tensor, num_samples: int | Tensor, delta_1: float, delta_2: float
) -> tuple[Tensor, Tensor]:
    """
    Which prompts are easy, c/n > δ1, and which are hard, 0 < c/n < δ2: the paper's D_{δ1,δ2} is their union.

    A prompt that was never solved is not hard, although its success rate is below δ2: its estimated gradient is 0. The
    paper does not say so, but the weights and counts it prints leave such prompts out (prompts with c = 1, 2 and 3 of
    32 make up its whole hard set at δ2 = 0.10).

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
        `ValueError`: if δ2 is above δ1, or one of them is not a success rate.
    """
    if not 0 <= delta_2 <= delta_1 <= 1:
        raise ValueError(
            f"delta_1={delta_1} and delta_2={delta_2} do not separate easy from hard: "
            "set 0 <= delta_2 <= delta_1 <= 1."
        )
    success_N = num_correct.double() / num_samples
    return success_N > delta_1, (success_N > 0) & (success_N < delta_2)


def conflict_of_filtered(
    gram: Tensor,
    num_correct: Tensor,
    num_samples: int | Tensor,
    k: float,
    estimator: Estimator = "plugin",
    deltas_1: Sequence[float] = DELTAS_1,
    deltas_2: Sequence[float] = DELTAS_2,
    confidence: float = 0.95,
) -> list[FilteredConflict]:
    """
    The conflict among the easy and hard prompts alone, for each pair of thresholds. Agreement is relative to the
    pass@1 gradient of the filtered prompts, as in the paper.

    The prompts are chosen by the same rollouts that their gradients come from. This biases every estimate, also with
    `"unbiased"` weights: the result shows which prompts conflict, not whether there is a conflict.

    Args:
        gram (`torch.Tensor` of shape `[N, N]` or `[M, N, N]`):
            As for [`measure_interference`].
        num_correct (`torch.Tensor` of shape `[N]`):
            Correct rollouts of each prompt.
        num_samples (`int` or `torch.Tensor` of shape `[N]`):
            Rollouts of each prompt.
        k (`float`):
            The k of the weights. The paper's is `num_samples`, which is too large for `"unbiased"`.
        estimator (`str`, *optional*, defaults to `"plugin"`):
            `"plugin"`, the paper's, or `"unbiased"`.
        deltas_1, deltas_2 (`Sequence[float]`, *optional*):
            Thresholds; the paper's by default.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the intervals.

    Returns:
        `list[FilteredConflict]`: one for each pair, δ1 in the outer loop.
    """
    sample = ProbeSample.of(gram, num_correct, num_samples)
    cells = []
    for delta_1 in deltas_1:
        for delta_2 in deltas_2:
            easy_N, hard_N = easy_and_hard(sample.num_correct, sample.num_samples, delta_1, delta_2)
            kept, shift = sample.keep(easy_N | hard_N), None
            if len(kept.num_correct) >= SMALLEST_SAMPLE:
                report = measure_interference(**kept.arguments, ks=[k], confidence=confidence, estimator=estimator)
                shift = agreement_shift(report, k)
            cells.append(FilteredConflict(delta_1, delta_2, int(easy_N.sum()), int(hard_N.sum()), shift))
    return cells
