"""What the latest probes say of the two gradients that are to be combined."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from passk_trl.interference import InterferenceReport

from .mixing import SOLVED, mean_prompt_weight


class TwoGradients(NamedTuple):
    """∇J_1 and ∇J_k/ω̄, the pass@k gradient by its mean prompt weight ω̄: inner product, squared norms, and ω̄."""

    inner_product: float
    pass1_norm_squared: float
    passk_norm_squared: float
    mean_weight: float


def two_gradients(reports: Sequence[InterferenceReport], k: int) -> TwoGradients | None:
    """
    The mean over reports; `None` without any, or where the prompts they are of are solved, so that ω̄ is nothing.

    Raises:
        `ValueError`: if a report, of a run that was resumed with another k maybe, does not have k.
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
