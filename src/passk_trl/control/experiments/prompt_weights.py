"""Weights of prompts: those of pass@k, and the nearest to them that do not oppose pass@1."""

import torch
from scipy.optimize import brentq
from torch import Tensor

from passk_trl.estimators import unbiased_prompt_weight

from ..mixed_advantages import check_binary


def gradient_weights(rewards_PG: Tensor, k: int) -> Tensor:
    """
    ω_k(n, c) of each prompt, `(P,)`, for as many attempts as its scored rollouts allow; 0 where the gradient is 0.

    Raises:
        `ValueError`: if a reward is neither 0 nor 1.
    """
    check_binary(rewards_PG)
    scored_P = (~rewards_PG.isnan()).sum(dim=1)
    correct_P = rewards_PG.nansum(dim=1)
    n, attempts = scored_P.clamp(min=2), torch.minimum(torch.tensor(k), scored_P - 1).clamp(min=1)
    weights_P = torch.as_tensor(unbiased_prompt_weight(n, correct_P, attempts))
    return torch.where((correct_P > 0) & (correct_P < scored_P), weights_P, 0.0)


def agreement_with_others(gram_NN: Tensor) -> Tensor:
    """a_i = Σ_{j≠i} ⟨ĝ_i, ĝ_j⟩/(N − 1). It leaves out a prompt's own term, which is noise. 0 for a single prompt."""
    gram_NN = gram_NN.double()
    return (gram_NN.sum(dim=1) - gram_NN.diagonal()) / max(1, len(gram_NN) - 1)


def nearest_weights(weights_N: Tensor, agreement_N: Tensor) -> Tensor:
    r"""
    The w that minimises Σ_i (w_i − ω_i)² subject to w ≥ 0 and Σ_i w_i a_i ≥ 0.

    Args:
        weights_N (`torch.Tensor`):
            ω ≥ 0, of N prompts.
        agreement_N (`torch.Tensor`):
            a, the agreement of each prompt with ∇J_1.

    Returns:
        `torch.Tensor` `(N,)`, float64.
    """
    multiplier = smallest_multiplier(weights_N, agreement_N)
    return (weights_N.double() + multiplier * agreement_N.double()).clamp(min=0)


def smallest_multiplier(weights_N: Tensor, agreement_N: Tensor, sampling_weights_N: Tensor | None = None) -> float:
    r"""
    The smallest μ ≥ 0 with Σ_i s_i w_i a_i ≥ 0 for w = max(0, ω + μ a).

    That w solves the quadratic programme of [`nearest_weights`], which has a single constraint besides w ≥ 0, with
    prompt i counted s_i times in both sums. If no prompt agrees with ∇J_1, no weights meet the constraint, and μ is 0.

    Args:
        weights_N (`torch.Tensor`), agreement_N (`torch.Tensor`):
            ω and a, as for [`nearest_weights`].
        sampling_weights_N (`torch.Tensor`, *optional*):
            s > 0; all the same if `None`.
    """
    weights_N, agreement_N = weights_N.double(), agreement_N.double()
    counted_N = agreement_N if sampling_weights_N is None else sampling_weights_N * agreement_N

    def interference(mu: float) -> float:
        return float((weights_N + mu * agreement_N).clamp(min=0) @ counted_N)

    agreeing = float(agreement_N.clamp(min=0) @ counted_N)
    if interference(0.0) >= 0 or agreeing == 0:
        return 0.0
    # At this μ the agreeing prompts outweigh the opposing ones, even if those kept their weights.
    enough = -interference(0.0) / agreeing * (1 + 1e-9)
    if interference(enough) <= 0:  # by rounding only
        return enough
    # To a relative precision: `enough` may be many orders of magnitude above μ, where few prompts agree and barely.
    return float(brentq(interference, 0.0, enough, xtol=1e-300, rtol=1e-13, maxiter=2000))
