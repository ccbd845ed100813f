"""DifficultyWeights: the weights nearest to pass@k's that do not oppose pass@1, by how hard a prompt is."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from passk_trl.estimators import passk_advantages
from passk_trl.interference import InterferenceReport

from .controller import Controller, Decision, Situation
from .mixing import mixed_advantages
from .prompt_weights import gradient_weights, smallest_multiplier
from .two_gradients import two_gradients


class DifficultyWeights(Controller):
    r"""
    Weighs prompts as pass@k does, but for what makes their sum oppose pass@1, by the mean agreement that the latest
    probes found among prompts that were solved about as often.

    A prompt of which c of n rollouts are right gets max(0, ω_k(n, c) + μ ā(c/n)), with ā that mean and the smallest
    μ ≥ 0 under which the probes' prompts, so weighed, do not oppose pass@1 as ā has it: the programme of
    [`InterferenceWeights`] with a few hundred prompts as its judge, and not the few of one batch. Rewards must be 0 or
    1. Before the first probe, and while pass@1's gradient is lost in noise, it trains pass@k.

    Args:
        bins (`int`, *optional*, defaults to `8`):
            Into how many equal parts success rates are divided. Fewer are less noisy.
        probes (`int`, *optional*, defaults to `4`):
            How many of the latest probes are pooled.
    """

    needs_reports = True

    def __init__(self, bins: int = 8, probes: int = 4):
        if bins < 2:
            raise ValueError(f"bins={bins} tells no hard prompt from an easy one; set at least 2.")
        if probes < 1:
            raise ValueError(f"probes={probes} is no number of probes; set at least 1.")
        self.bins, self.probes = bins, probes

    def decide(self, now: Situation) -> Decision:
        wanted_P = gradient_weights(now.rewards_PG, now.k)
        reports = now.reports[-self.probes :]
        found = two_gradients(reports, now.k)
        if found is None or found.pass1_norm_squared <= 0:
            mean_weight = None if found is None else found.mean_weight
            return Decision(mixed_advantages(now.rewards_PG, now.k, 0.0, mean_weight), {"moved": 0.0})
        shifts_B, moved = weight_shifts(reports, now.k, self.bins)
        shifts_P = shifts_B[_bins_of(now.rewards_PG.double().nanmean(dim=1).nan_to_num(), self.bins)]
        weights_P = (wanted_P + shifts_P).clamp(min=0) / found.mean_weight
        return Decision(passk_advantages(now.rewards_PG.double(), 1) * weights_P.unsqueeze(1), {"moved": moved})


def weight_shifts(reports: Sequence[InterferenceReport], k: int, bins: int) -> tuple[Tensor, float]:
    """
    By how much each bin of success rates is weighed otherwise than by pass@k, μ ā, and how far that moves the weights
    of the reports' prompts, as a fraction of pass@k's.

    Args:
        reports (`Sequence[InterferenceReport]`):
            Some, which measured k.
        k (`int`):
            The k trained for.
        bins (`int`):
            Equal parts of the success rates, B.

    Returns:
        `torch.Tensor` `(B,)`, float64, and `float`. A bin without prompts is weighed as the nearest that has some.
    """

    def of_mixed(values: Callable[[InterferenceReport], Tensor]) -> Tensor:
        # A prompt of which all rollouts fared alike has no gradient, to agree or to be weighed.
        kept = [(each.num_correct > 0) & (each.num_correct < each.num_samples) for each in reports]
        return torch.cat([values(each)[mixed_N] for each, mixed_N in zip(reports, kept, strict=True)])

    weights_N = of_mixed(lambda each: each.weights[each.at(k)])
    agreement_N, sampling_N = of_mixed(lambda each: each.agreement), of_mixed(lambda each: each.sampling_weights)
    bin_N = _bins_of(of_mixed(lambda each: each.success_rate), bins)
    mass_B = torch.bincount(bin_N, sampling_N, minlength=bins)
    total_B = torch.bincount(bin_N, sampling_N * agreement_N, minlength=bins)
    pooled_B = torch.where(mass_B > 0, total_B / mass_B, 0.0)[_nearest(mass_B > 0)]
    shifts_B = smallest_multiplier(weights_N, pooled_B[bin_N], sampling_N) * pooled_B
    moved_N = (weights_N + shifts_B[bin_N]).clamp(min=0) - weights_N
    moved = (sampling_N @ moved_N.square() / (sampling_N @ weights_N.square()).clamp(min=1e-12)).sqrt()
    return shifts_B, float(moved)


def _nearest(filled_B: Tensor) -> Tensor:
    """Of each bin the nearest that is filled, the harder of two; itself where none is."""
    bins = torch.arange(len(filled_B))
    distances_BB = (bins[:, None] - bins).abs().masked_fill(~filled_B, len(bins))
    return distances_BB.argmin(dim=1) if filled_B.any() else bins


def _bins_of(success: Tensor, bins: int) -> Tensor:
    return (success * bins).long().clamp(max=bins - 1)
