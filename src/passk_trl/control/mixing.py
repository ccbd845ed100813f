"""What the controllers that mix two gradients have in common: the mean prompt weight of the latest batches."""

import math
from typing import ClassVar

from torch import Tensor

from .controller import Controller, Situation
from .mixed_advantages import mean_prompt_weight, mixed_advantages


# Batches that the mean prompt weight is averaged over.
BATCHES = 20


class Mixing(Controller):
    r"""
    Mixes the gradients of pass@k and pass@1: (1 − λ) ∇J_k/ω̄ + λ ∇J_1. ω̄ is the mean prompt weight.

    ω̄ is a mean over about the last 20 batches before the one it divides. So the expected gradient of a batch, given
    those before it, is exactly this mixture. With the batch's own mean it would not be: a batch with few hard prompts
    would be amplified, and so hard prompts would count for less than they should.

    The mean starts at 1, which counts as one batch. For every k, 1 is the mean weight where success rates are spread
    evenly from 0 to 1: ∫ k(1 − p)^(k−1) dp = 1.
    """

    remembered: tuple[str, ...] = ("mean_weight", "batches_weighed")
    _new: ClassVar[frozenset[str]] = frozenset(remembered)
    mean_weight: float = 1.0
    batches_weighed: int = 1

    def mixed(self, now: Situation, share: float, mean_weight: float | None = None) -> Tensor:
        """
        [`mixed_advantages`] of a batch, whose weights then count for the batches after it. To be called once a batch.

        Args:
            now ([`Situation`]):
                The batch.
            share (`float`):
                λ, from 0 (pass@k) to 1 (pass@1).
            mean_weight (`float`, *optional*):
                ω̄ as probes measured it. If `None`, that of the batches before this one.
        """
        divisor = self.mean_weight if mean_weight is None else mean_weight
        advantages_PG = mixed_advantages(now.rewards_PG, now.k, share, divisor)
        scored_P, correct_P = (~now.rewards_PG.isnan()).sum(dim=1), now.rewards_PG.nansum(dim=1).long()
        of_batch = mean_prompt_weight(scored_P, correct_P, now.k)
        if not math.isnan(of_batch):
            self.batches_weighed = min(self.batches_weighed + 1, BATCHES)
            self.mean_weight += (of_batch - self.mean_weight) / self.batches_weighed
        return advantages_PG
