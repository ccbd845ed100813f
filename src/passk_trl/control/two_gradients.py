"""The lengths and the inner product of pass@1's and pass@k's gradients, from the latest reports."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from passk_trl.interference import InterferenceReport

from .mixed_advantages import SOLVED, mean_prompt_weight


class TwoGradients(NamedTuple):
    """
    ∇J_1, and ∇J_k/ω̄, the pass@k gradient divided by its mean prompt weight ω̄.

    Attributes:
        inner_product (`float`): ⟨∇J_k, ∇J_1⟩/ω̄.
        pass1_norm_squared (`float`): ‖∇J_1‖².
        passk_norm_squared (`float`): ‖∇J_k‖²/ω̄².
        mean_weight (`float` or `None`): ω̄; `None` where it was not measured, or is almost 0. The others are 0 then.
        blind (`str` or `None`): why nothing can be decided by these numbers; `None` if something can.
    """

    inner_product: float = 0.0
    pass1_norm_squared: float = 0.0
    passk_norm_squared: float = 0.0
    mean_weight: float | None = None
    blind: str | None = None


def two_gradients(reports: Sequence[InterferenceReport], k: int) -> TwoGradients:
    """
    The mean over reports.

    Nothing can be decided by them where there is none, where a number of them is not finite, where their prompts are
    solved (ω̄ is then almost 0), and where ‖∇J_1‖² is not measured positive: noise then hides pass@1's gradient.

    Raises:
        `ValueError`: if a report does not have k. A run that was resumed with another k may have such reports.
    """
    if any(k not in report.ks.tolist() for report in reports):
        raise ValueError(
            f"the latest reports did not measure pass_at_k={k}; add it to the monitor's ks, or start anew."
        )
    if not reports:
        return TwoGradients(blind="there is no report yet")
    rows = []
    for report in reports:
        at_k = report.at(k)
        mean_weight = mean_prompt_weight(report.num_samples, report.num_correct, k, report.sampling_weights)
        rows.append([report.inner_product[at_k], report.pass1_norm_squared, report.norm_squared[at_k], mean_weight])
    means = torch.tensor(rows, dtype=torch.float64).mean(dim=0)
    inner, pass1, passk, mean_weight = means.tolist()
    if not means.isfinite().all():
        return TwoGradients(blind="the latest reports have a number that is not finite")
    if mean_weight < SOLVED:
        return TwoGradients(blind="the prompts of the latest reports are solved")
    lost = "noise hides pass@1's gradient in the latest reports" if pass1 <= 0 else None
    return TwoGradients(inner / mean_weight, pass1, passk / mean_weight**2, mean_weight, lost)


def nearest_gram(found: TwoGradients) -> Tensor:
    """The Gram matrix nearest to the estimates, float64 `(2, 2)`: unbiased estimates need not form one."""
    inner = found.inner_product
    estimated = [[found.pass1_norm_squared, inner], [inner, found.passk_norm_squared]]
    values, vectors = torch.linalg.eigh(torch.tensor(estimated, dtype=torch.float64))
    return (vectors * values.clamp(min=0)) @ vectors.T
