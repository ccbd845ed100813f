"""How many prompts a probe needs to show a conflict of a given size."""

import math
from statistics import NormalDist

from .interference_report import InterferenceReport
from .sample import SMALLEST_SAMPLE


def required_probe_size(report: InterferenceReport, k: float, cosine: float, power: float = 0.8) -> int:
    r"""
    How many prompts a probe needs to show that ∇J_k and ∇J_1 are at a given cosine, from a first, smaller probe.

    A cosine of ρ is an inner product of ρ sqrt(S_1 S_k). A probe of N prompts shows it if its interval does not
    contain 0. This has probability `power` where |ρ| sqrt(S_1 S_k) = (z_c + z_power) s, with s the standard error and
    z_c the normal quantile of the two-sided confidence. s² = p² + q², with p the error over prompts and q that of
    sketches. N times the variance of a U-statistic never rises with N (Hoeffding 1948, section 5), so beyond the first
    probe's N_0 prompts p is at most p_0 sqrt(N_0/N). q does not rise with N, but it has a floor, so it is taken to
    stay at q_0. So

        N = N_0 p_0² / ((ρ sqrt(S_1 S_k) / (z_c + z_power))² − q_0²)

    is enough. If most of the error comes from the noise of the ĝ_i and not from the variety of the prompts, p falls
    like 1/N, and fewer prompts are enough. An N below N_0 may be too small. S_1, S_k, p_0 and q_0 are estimates, so N
    is only as reliable as they are.

    Args:
        report ([`InterferenceReport`]):
            The first probe, with the number of rollouts per prompt that the larger one is to have.
        k (`float`):
            One of `report.ks`.
        cosine (`float`):
            ρ, the cosine to show, between −1 and 1 and not 0.
        power (`float`, *optional*, defaults to `0.8`):
            Probability with which the probe shows it.

    Returns:
        `int`: number of prompts.

    Raises:
        `ValueError`: if k was not measured, `cosine` or `power` is out of range, the first probe is too noisy to
        measure the length of the gradients (S_1 or S_k is not above 0), or the error of its sketches alone hides the
        cosine.
    """
    at_k = report.at(k)
    if not 0 < abs(cosine) <= 1:
        raise ValueError(f"cosine={cosine} is out of range: set a number between -1 and 1, not 0.")
    if not 0.5 <= power < 1:
        raise ValueError(f"power={power} is out of range: set a number from 0.5 to below 1, such as 0.8.")
    norms_squared = report.pass1_norm_squared, float(report.norm_squared[at_k])
    if min(norms_squared) <= 0:
        raise ValueError(
            f"the probe measures ‖∇J_1‖² = {norms_squared[0]:.3g} and ‖∇J_{k:g}‖² = {norms_squared[1]:.3g}, which are "
            "not both above 0: take a first probe of more prompts or rollouts."
        )
    target = abs(cosine) * math.sqrt(norms_squared[0] * norms_squared[1])
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + report.confidence) / 2) + normal.inv_cdf(power)
    of_sketches = float(report.sketch_se[at_k]) ** 2
    of_prompts = float(report.inner_product_se[at_k]) ** 2 - of_sketches
    allowed = (target / quantiles) ** 2 - of_sketches
    if allowed <= 0:
        raise ValueError(
            f"the error of this probe's sketches alone hides a cosine of {cosine} at k={k:g}: take a first probe of "
            "more prompts, or of whole gradients."
        )
    return max(SMALLEST_SAMPLE, math.ceil(len(report.agreement) * of_prompts / allowed))
