"""DifficultyWeights: the weights nearest to pass@k's that do not oppose pass@1, by the success rate of a prompt."""

from passk_trl.estimators import passk_advantages

from ..controller import Decision, Situation
from ..mixing import Mixing
from ..two_gradients import two_gradients
from .prompt_weights import gradient_weights
from .shifts_by_difficulty import bins_of, weight_shifts


class DifficultyWeights(Mixing):
    r"""
    Gives prompts the weights nearest to pass@k's under which the prompts of the latest probes do not oppose pass@1.
    How a weight changes depends on the success rate of the prompt alone.

    A prompt with c of n rollouts right gets max(0, ω_k(n, c) + μ ā(c/n)). ā is the mean agreement of the probe prompts
    with about the same success rate. μ ≥ 0 is the smallest under which the probe prompts, with these weights, do not
    oppose pass@1 according to ā. This is the programme of [`InterferenceWeights`], judged by a few hundred probe
    prompts instead of the few of one batch. Rewards must be 0 or 1. It is blind where [`Mix`] is, and then trains
    pass@k alone.

    Args:
        bins (`int`, *optional*, defaults to `8`):
            Into how many equal parts success rates are divided. Fewer are less noisy.
        probes (`int`, *optional*, defaults to `4`):
            How many of the latest probes are pooled. On a ride, the latest report alone counts.
    """

    needs_reports = True

    def __init__(self, bins: int = 8, probes: int = 4):
        if bins < 2:
            raise ValueError(f"bins={bins} cannot separate hard prompts from easy ones: set at least 2.")
        if probes < 1:
            raise ValueError(f"probes={probes} is not a number of probes: set at least 1.")
        self.bins, self.probes = bins, probes

    def decide(self, now: Situation) -> Decision:
        passk_weights_P = gradient_weights(now.rewards_PG, now.k)
        reports = now.reports[-self.probes :]
        found = two_gradients(reports, now.k)
        passk_PG = self.mixed(now, 0.0, found.mean_weight)
        if found.blind or found.mean_weight is None:
            return Decision(passk_PG, {"moved": 0.0}, found.blind)
        shifts_B, change = weight_shifts(reports, now.k, self.bins)
        shifts_P = shifts_B[bins_of(now.rewards_PG.double().nanmean(dim=1).nan_to_num(), self.bins)]
        weights_P = (passk_weights_P + shifts_P).clamp(min=0) / found.mean_weight
        return Decision(passk_advantages(now.rewards_PG.double(), 1) * weights_P.unsqueeze(1), {"moved": change})
