"""Mix: adds to pass@k's gradient as little of pass@1's as removes the conflict."""

from collections.abc import Sequence

import torch

from passk_trl.interference import InterferenceReport

from .controller import SOLVED, Controller, Decision, Situation, mixed_advantages


def smallest_share(inner_product: float, norm_squared: float, margin: float = 0.0) -> float:
    r"""
    Smallest λ in [0, 1] with ⟨(1 − λ) g_k + λ g_1, g_1⟩ ≥ m ‖g_1‖²: (m S_1 − I_k)/(S_1 − I_k) where I_k < m S_1.

    Args:
        inner_product (`float`):
            I_k = ⟨g_k, g_1⟩, of the pass@k gradient by its mean prompt weight.
        norm_squared (`float`):
            S_1 = ‖g_1‖². Where it is not positive, pass@1's gradient is lost in noise, and λ is 0.
        margin (`float`, *optional*, defaults to `0.0`):
            m, below 1: 0 holds pass@1 to first order, 1 would train it alone.
    """
    if norm_squared <= 0 or inner_product >= margin * norm_squared:
        return 0.0
    return (margin * norm_squared - inner_product) / (norm_squared - inner_product)


class Mix(Controller):
    """
    Mixes pass@k's gradient with the smallest share of pass@1's that removes the conflict of the latest probes.

    Args:
        margin (`float`, *optional*, defaults to `0.0`):
            How fast pass@1 is to rise, as a fraction of how fast training for it alone would raise it.
        probes (`int`, *optional*, defaults to `4`):
            How many of the latest probes are averaged: fewer follow training closer and are noisier.
    """

    needs_reports = True

    def __init__(self, margin: float = 0.0, probes: int = 4):
        if not 0 <= margin < 1:
            raise ValueError(f"margin={margin} is no fraction below 1; set 0 to hold pass@1, more to raise it.")
        if probes < 1:
            raise ValueError(f"probes={probes} is no number of probes; set at least 1.")
        self.margin = margin
        self.probes = probes

    def decide(self, now: Situation) -> Decision:
        inner, norm, mean_weight = measured(now.reports[-self.probes :], now.k) if now.reports else (0.0, 0.0, 0.0)
        share = smallest_share(inner / mean_weight, norm, self.margin) if mean_weight > SOLVED else 0.0
        return Decision(mixed_advantages(now.rewards_PG, now.k, share, mean_weight), {"share": share})


def measured(reports: Sequence[InterferenceReport], k: int) -> tuple[float, float, float]:
    """
    I_k, S_1 and the mean prompt weight at k, each averaged over reports.

    Raises:
        `ValueError`: if a report, of a run that was resumed with another k maybe, does not have k.
    """
    if any(k not in report.ks.tolist() for report in reports):
        raise ValueError(
            f"the latest probes did not measure pass_at_k={k}; add it to the monitor's ks, or start anew."
        )
    at_k = [report.ks.tolist().index(k) for report in reports]
    rows = [
        [float(r.inner_product[i]), r.pass1_norm_squared, float(r.mean_weight[i])]
        for r, i in zip(reports, at_k, strict=True)
    ]
    inner, norm, mean_weight = torch.tensor(rows, dtype=torch.float64).mean(dim=0).tolist()
    return inner, norm, mean_weight
