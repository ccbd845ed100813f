"""By how much the weight of a prompt must change, by its success rate, so that pass@k does not oppose pass@1."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from passk_trl.interference import InterferenceReport

from .prompt_weights import smallest_multiplier


def weight_shifts(reports: Sequence[InterferenceReport], k: int, bins: int) -> tuple[Tensor, float]:
    """
    The change of the pass@k weight in each bin of success rates, μ ā, and the size of the change over the reports'
    prompts, as a fraction of pass@k's weights.

    Args:
        reports (`Sequence[InterferenceReport]`):
            At least one; each has measured k.
        k (`int`):
            The k trained for.
        bins (`int`):
            Equal parts of the success rates, B.

    Returns:
        `torch.Tensor` `(B,)`, float64, and `float`. A bin without prompts gets the change of the nearest bin with
        some.
    """

    def of_partly_solved(values: Callable[[InterferenceReport], Tensor]) -> Tensor:
        # Only a prompt that is sometimes solved has a gradient, and so an agreement and a weight.
        masks = [(each.num_correct > 0) & (each.num_correct < each.num_samples) for each in reports]
        return torch.cat([values(each)[mask_N] for each, mask_N in zip(reports, masks, strict=True)])

    weights_N = of_partly_solved(lambda each: each.weights[each.at(k)])
    agreement_N = of_partly_solved(lambda each: each.agreement)
    sampling_N = of_partly_solved(lambda each: each.sampling_weights)
    bin_N = bins_of(of_partly_solved(lambda each: each.success_rate), bins)
    mass_B = torch.bincount(bin_N, sampling_N, minlength=bins)
    total_B = torch.bincount(bin_N, sampling_N * agreement_N, minlength=bins)
    pooled_B = torch.where(mass_B > 0, total_B / mass_B, 0.0)[_nearest_filled(mass_B > 0)]
    shifts_B = smallest_multiplier(weights_N, pooled_B[bin_N], sampling_N) * pooled_B
    change_N = (weights_N + shifts_B[bin_N]).clamp(min=0) - weights_N
    change = (sampling_N @ change_N.square() / (sampling_N @ weights_N.square()).clamp(min=1e-12)).sqrt()
    return shifts_B, float(change)


def bins_of(success: Tensor, bins: int) -> Tensor:
    """The bin of each success rate, int64: `bins` equal parts of 0 … 1."""
    return (success * bins).long().clamp(max=bins - 1)


def _nearest_filled(filled_B: Tensor) -> Tensor:
    """For each bin, the nearest bin with prompts; the one of harder prompts if two are equally near."""
    bins = torch.arange(len(filled_B))
    distances_BB = (bins[:, None] - bins).abs().masked_fill(~filled_B, len(bins))
    return distances_BB.argmin(dim=1) if filled_B.any() else bins
