"""InterferenceWeights: the prompt weights nearest to pass@k's under which no step works against pass@1."""

import logging

import torch
from torch import Tensor

from passk_trl.estimators import passk_advantages

from .controller import Controller, Decision, Situation
from .prompt_weights import gradient_weights, nearest_weights


logger = logging.getLogger(__name__)


def agreement_with_others(gram_NN: Tensor) -> Tensor:
    """a_i = Σ_{j≠i} ⟨ĝ_i, ĝ_j⟩/(N − 1): without a prompt's own term, which holds its noise. 0 for one alone."""
    gram_NN = gram_NN.double()
    return (gram_NN.sum(dim=1) - gram_NN.diagonal()) / max(1, len(gram_NN) - 1)


class InterferenceWeights(Controller):
    """
    Weighs the prompts of each batch as pass@k does, but for what makes their sum oppose pass@1, by the Gram matrix of
    the batch itself: another backward pass over it, and no probe.

    Where weights and gradients share their rollouts, the gradient of a batch is no longer unbiased for any objective.
    Rewards must be 0 or 1. A batch too large for the memory is weighed as pass@k does.
    """

    def decide(self, now: Situation) -> Decision:
        wanted_P = gradient_weights(now.rewards_PG, now.k)
        try:
            weights_P = nearest_weights(wanted_P, agreement_with_others(now.gram()))
        except torch.OutOfMemoryError:  # on all ranks alike
            logger.warning("a batch's gradients did not fit into memory; it is weighed as pass@%d does.", now.k)
            weights_P = wanted_P
        advantages_PG = passk_advantages(now.rewards_PG.double(), 1) * weights_P.unsqueeze(1)
        moved = (weights_P - wanted_P).norm() / wanted_P.norm().clamp(min=1e-6)
        return Decision(advantages_PG, {"moved": float(moved)})
