"""From which k on a conflict is certain, given the prompts' agreement and success: the k* of Proposition 4.5."""

import torch
from torch import Tensor


def k_star_bound(
    agreement: Tensor,
    success: Tensor,
    agreement_bound: float | None = None,
    sampling_weights: Tensor | None = None,
) -> float | None:
    r"""
    The k* of Prop. 4.5: E[k(1 − p)^(k−1) a] < 0, a conflict, for every k > k*.

    With X_− = {a ≤ −m} of mass q, where p ≤ ε, and p ≥ δ > ε elsewhere,

        k* = 1 + log((1 − q) A / (q m)) / log((1 − ε) / (1 − δ)),

    where A bounds the agreement outside X_−. The paper takes G², a bound of the squared score norm; its proof needs
    only sup a. Of all thresholds m that separate, the one with the smallest k* is taken. Prompts outside X_− with
    a ≤ 0 cannot raise the expectation, so δ is the least success among those with a > 0. (The paper asks p ≥ δ of all
    prompts. Prompts without a correct rollout, p = a = 0, would then always prevent the separation.)

    The guarantee is for the given weighted set of prompts. If agreement and success are estimates, it holds for the
    sample; it is not a confidence statement about the population.

    Args:
        agreement (`Tensor[N]`):
            Agreement scores a.
        success (`Tensor[N]`):
            Success probabilities p, in [0, 1].
        agreement_bound (`float`, *optional*, defaults to the largest agreement):
            A. With G² it is the paper's form. A value below the largest agreement is replaced by the largest
            agreement, because it bounds nothing.
        sampling_weights (`Tensor[N]`, *optional*, defaults to ones):
            Mass of each prompt, up to a factor.

    Returns:
        `float` or `None`: k* ≥ 1; 1.0 if some agreement is negative and none is positive; `None` if no threshold
        separates, or no agreement is negative.
    """
    agreement_N, success_N = agreement.double(), success.double()
    mass_N = torch.ones_like(agreement_N) if sampling_weights is None else sampling_weights.double()
    present_N = mass_N > 0
    agreement_N, order_N = agreement_N[present_N].sort()
    success_N, mass_N = success_N[present_N][order_N], mass_N[present_N][order_N]
    negative_N = (agreement_N < 0) & (success_N < 1)  # at p = 1 the weight is 0 for every k > 1
    if not negative_N.any():
        return None
    if agreement_N[-1] <= 0:
        return 1.0
    delta = success_N[agreement_N > 0].min()
    bound = max(float(agreement_N[-1]), agreement_bound or 0.0)
    # The i-th candidate is m = −a_(i); sorted, its X_− is the first i prompts, so q and ε are running sums and maxima.
    cumulated_N = mass_N.cumsum(0)
    q_N = cumulated_N / cumulated_N[-1]
    epsilon_N = success_N.cummax(0).values
    evidence_N = torch.log((1 - q_N) * bound / (q_N * -agreement_N)).clamp(min=0)
    bounds_N = 1 + evidence_N / torch.log((1 - epsilon_N) / (1 - delta))
    valid_N = negative_N & (epsilon_N < delta)
    return float(bounds_N[valid_N].min()) if valid_N.any() else None
