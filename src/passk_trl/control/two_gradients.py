"""The lengths and the inner product of pass@1's and pass@k's gradients, from the latest probes."""

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
        mean_weight (`float`): ω̄.
    """

    inner_product: float
    pass1_norm_squared: float
    passk_norm_squared: float
    mean_weight: float


def two_gradients(reports: Sequence[InterferenceReport], k: int) -> TwoGradients | None:
    """
    The mean over reports; `None` without any, or where their prompts are solved, since ω̄ is then almost 0.

    Raises:
        `ValueError`: if a report does not have k. A run that was resumed with another k may have such reports.
    """
    if any(k not in report.ks.tolist() for report in reports):
        raise ValueError(
            f"the latest probes did not measure pass_at_k={k}; add it to the monitor's ks, or start anew."
        )
    rows = []
    for report in reports:
        at_k = report.at(k)
        mean_weight = mean_prompt_weight(report.num_samples, report.num_correct, k, report.sampling_weights)
        rows.append([report.inner_product[at_k], report.pass1_norm_squared, report.norm_squared[at_k], mean_weight])
    inner, pass1, passk, mean_weight = torch.tensor(rows or [[0.0] * 4], dtype=torch.float64).mean(dim=0).tolist()
    if mean_weight < SOLVED:
        return None
    return TwoGradients(inner / mean_weight, pass1, passk / mean_weight**2, mean_weight)


def nearest_gram(found: TwoGradients) -> Tensor:
    """The Gram matrix nearest to the estimates, float64 `(2, 2)`: unbiased estimates need not form one."""
    inner = found.inner_product
    estimated = [[found.pass1_norm_squared, inner], [inner, found.passk_norm_squared]]
    values, vectors = torch.linalg.eigh(torch.tensor(estimated, dtype=torch.float64))
    return (vectors * values.clamp(min=0)) @ vectors.T
