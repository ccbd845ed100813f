"""From one Gram matrix and success counts of N probe prompts to the conflict between pass@1 and pass@k, at every k.

The mathematics is that of Barakat et al., "Why Pass@k Optimization Can Degrade Pass@1" (arXiv 2602.21189). With p(x)
the success probability of prompt x and J_k the population pass@k,

    ∇J_k = E_x[w_k(p(x)) ∇p(x)],  w_k(p) = k (1 − p)^(k−1)                                                (eq. 2, 3)
    a(x) = ⟨∇p(x), ∇J_1⟩                                                                     (agreement score, eq. 8)
    ⟨∇J_k, ∇J_1⟩ = E_x[w_k(p(x)) a(x)] = E_x[w_k] ‖∇J_1‖² + cov(w_k, a)                                  (Prop. 4.1)

A conflict is a negative ⟨∇J_k, ∇J_1⟩: a small step that raises pass@k then lowers pass@1. The same holds for any other
objective E_x[f(p(x))], whose weight is f′(p) in the place of w_k(p) ([`measure_objectives`]).
"""

import math
from statistics import NormalDist

from .report import InterferenceReport


def required_probe_size(report: InterferenceReport, k: float, cosine: float, power: float = 0.8) -> int:
    r"""
    How many prompts a probe needs to show that ∇J_k and ∇J_1 are at a given cosine, from a first, smaller probe.

    A cosine of ρ is an inner product of ρ sqrt(S_1 S_k), and a probe of N prompts shows it where its interval leaves
    0 out: with probability `power` where |ρ| sqrt(S_1 S_k) = (z_c + z_power) s, with s the standard error and z_c the
    normal quantile of the two-sided confidence. N times the variance of a U-statistic never rises with N (Hoeffding
    1948, section 5), so beyond the first probe's N_0 prompts s is at most s_0 sqrt(N_0/N), and

        N = N_0 ((z_c + z_power) s_0 / (ρ sqrt(S_1 S_k)))²

    is enough. Where the noise of the ĝ_i makes the error, and not the variety of the prompts, s falls like 1/N, and
    fewer are; an N below N_0 may be too small. It is as sure as S_1, S_k and s_0 are, which are estimates.

    Args:
        report ([`InterferenceReport`]):
            The first probe, with the number of rollouts per prompt that the larger one is to have.
        k (`float`):
            One of `report.ks`.
        cosine (`float`):
            ρ, the cosine to be seen, between −1 and 1 and not 0.
        power (`float`, *optional*, defaults to `0.8`):
            Probability with which it is to be seen.

    Returns:
        `int`: number of prompts.

    Raises:
        `ValueError`: if k was not measured, `cosine` or `power` is out of range, or the first probe is too noisy to
        tell how long the gradients are (S_1 or S_k is not above 0).
    """
    at_k = report.at(k)
    if not 0 < abs(cosine) <= 1:
        raise ValueError(f"cosine={cosine} is out of range; set a number between -1 and 1, not 0.")
    if not 0.5 <= power < 1:
        raise ValueError(f"power={power} is out of range; set a number from 0.5 to below 1, such as 0.8.")
    norms_squared = report.pass1_norm_squared, float(report.norm_squared[at_k])
    if min(norms_squared) <= 0:
        raise ValueError(
            f"the probe measures ‖∇J_1‖² = {norms_squared[0]:.3g} and ‖∇J_{k:g}‖² = {norms_squared[1]:.3g}, of which "
            "neither is known to be above 0; take a first probe of more prompts or rollouts."
        )
    target = abs(cosine) * math.sqrt(norms_squared[0] * norms_squared[1])
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + report.confidence) / 2) + normal.inv_cdf(power)
    ratio = quantiles * float(report.inner_product_se[at_k]) / target
    return max(3, math.ceil(len(report.agreement) * ratio**2))
