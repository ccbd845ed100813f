"""Mix: adds to pass@k's gradient as little of pass@1's as removes the conflict."""

from collections.abc import Sequence

from passk_trl.interference import InterferenceReport

from .controller import Controller, Decision, Situation
from .mixing import mixed_advantages
from .two_gradients import two_gradients


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


def measured_share(reports: Sequence[InterferenceReport], k: int, margin: float = 0.0) -> tuple[float, float | None]:
    """[`smallest_share`] by the mean of some reports, and the mean weight of its g_k; 0 and `None` without any."""
    found = two_gradients(reports, k)
    if found is None:
        return 0.0, None
    return smallest_share(found.inner_product, found.pass1_norm_squared, margin), found.mean_weight


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
        share, mean_weight = measured_share(now.reports[-self.probes :], now.k, self.margin)
        return Decision(mixed_advantages(now.rewards_PG, now.k, share, mean_weight), {"share": share})
