"""InterferenceWeights: the prompt weights nearest to pass@k's under which a batch does not oppose pass@1."""

import math

import torch

from passk_trl.estimators import passk_advantages

from ..controller import Controller, Decision, Situation
from .prompt_weights import agreement_with_others, gradient_weights, nearest_weights


class InterferenceWeights(Controller):
    """
    Gives each batch the prompt weights nearest to pass@k's under which the batch does not oppose pass@1. It judges
    that by the Gram matrix of the batch itself, which takes another backward pass and no probe.

    A monitor that rides cannot stand in for that pass: it knows the gradients of a batch only once the batch has been
    trained on. What it can know beforehand is how prompts of about the same success rate agree, and
    [`DifficultyWeights`] acts on that.

    Weights and gradients then come from the same rollouts, so the gradient of a batch is not unbiased for any
    objective. Rewards must be 0 or 1.

    It is blind in a batch whose gradients do not fit into memory, and where noise hides pass@1's gradient: the prompts
    then disagree with each other on average, or there are not two with a gradient. Such a batch gets pass@k's weights.
    """

    def decide(self, now: Situation) -> Decision:
        passk_weights_P = gradient_weights(now.rewards_PG, now.k)
        weights_P, blind = passk_weights_P, None
        try:
            agreement_P = agreement_with_others(now.gram())
        except torch.OutOfMemoryError:  # raised on all ranks
            blind = "the gradients of the batch do not fit into memory"
        else:
            if 0 < agreement_P.mean() < math.inf:  # the batch's estimate of ‖∇J_1‖²
                weights_P = nearest_weights(passk_weights_P, agreement_P)
            else:
                blind = "noise hides pass@1's gradient in the batch"
        advantages_PG = passk_advantages(now.rewards_PG.double(), 1) * weights_P.unsqueeze(1)
        change = (weights_P - passk_weights_P).norm() / passk_weights_P.norm().clamp(min=1e-6)
        return Decision(advantages_PG, {"moved": float(change)}, blind)
