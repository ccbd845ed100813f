"""InterferenceWeights: the prompt weights nearest to pass@k's under which no step works against pass@1."""

from scipy.optimize import brentq
from torch import Tensor

from passk_trl.estimators import passk_advantages

from .controller import Controller, Decision, Situation, batch_weights


def nearest_weights(weights_N: Tensor, agreement_N: Tensor) -> Tensor:
    r"""
    The w that minimises Σ_i (w_i − ω_i)² subject to w ≥ 0 and Σ_i w_i a_i ≥ 0.

    A quadratic programme with one row: w = max(0, ω + μ a) with the smallest μ ≥ 0 that meets it, a root in one
    unknown. Where no prompt agrees, pass@1's gradient is lost in noise and ω comes back.

    Args:
        weights_N (`torch.Tensor`):
            ω ≥ 0, of N prompts.
        agreement_N (`torch.Tensor`):
            a, the agreement of each prompt with ∇J_1.

    Returns:
        `torch.Tensor` `(N,)`, float64.
    """
    weights_N, agreement_N = weights_N.double(), agreement_N.double()

    def weights(mu: float) -> Tensor:
        return (weights_N + mu * agreement_N).clamp(min=0)

    def interference(mu: float) -> float:
        return float(weights(mu) @ agreement_N)

    agreeing = agreement_N.clamp(min=0).square().sum()
    if interference(0.0) >= 0 or agreeing == 0:
        return weights_N
    # There those that agree make up for all, even if those that oppose kept their weight.
    enough = float(-interference(0.0) / agreeing)
    return weights(brentq(interference, 0.0, enough * (1 + 1e-9), xtol=1e-12 * enough))


def agreement_with_others(gram_NN: Tensor) -> Tensor:
    """a_i = Σ_{j≠i} ⟨ĝ_i, ĝ_j⟩/(N − 1): without a prompt's own term, which holds its sampling noise. Needs N ≥ 2."""
    gram_NN = gram_NN.double()
    return (gram_NN.sum(dim=1) - gram_NN.diagonal()) / (len(gram_NN) - 1)


class InterferenceWeights(Controller):
    """
    Weighs the prompts of each batch as pass@k does, but for what makes their sum oppose pass@1, by the Gram matrix of
    the batch itself: another backward pass over it, and no probe.

    Where weights and gradients share their rollouts, the gradient of a batch is no longer unbiased for any objective.
    """

    def decide(self, now: Situation) -> Decision:
        wanted_P = batch_weights(now.rewards_PG, now.k)
        weights_P = nearest_weights(wanted_P, agreement_with_others(now.gram()))
        scale = wanted_P.mean().clamp(min=1e-6)
        advantages_PG = passk_advantages(now.rewards_PG.double(), 1) * (weights_P / scale).unsqueeze(1)
        moved = (weights_P - wanted_P).norm() / wanted_P.norm().clamp(min=1e-6)
        return Decision(advantages_PG, {"moved": float(moved)})
