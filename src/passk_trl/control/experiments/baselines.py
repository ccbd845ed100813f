"""Two baselines that measure nothing, and so are never blind: a fixed share of pass@1, and a k that falls."""

from passk_trl.estimators import passk_advantages

from ..controller import Controller, Decision, Situation
from ..mixing import Mixing


class FixedMix(Mixing):
    """
    Mixes a fixed share of pass@1's gradient into pass@k's, each divided by its mean prompt weight.

    Args:
        share (`float`, *optional*, defaults to `0.3`):
            λ, from 0 (pass@k) to 1 (pass@1).
    """

    def __init__(self, share: float = 0.3):
        if not 0 <= share <= 1:
            raise ValueError(f"share={share} is not a share: set a number from 0 to 1.")
        self.share = share

    def decide(self, now: Situation) -> Decision:
        return Decision(self.mixed(now, self.share), {"share": self.share})


class Annealed(Controller):
    """
    Moves k from the configured one to `end` over training, in equal factors.

    Args:
        end (`int`, *optional*, defaults to `1`):
            The k at the end of training; at most the size of a group.
    """

    def __init__(self, end: int = 1):
        if end < 1:
            raise ValueError(f"end={end} is not a number of attempts: set at least 1.")
        self.end = end

    def decide(self, now: Situation) -> Decision:
        k = min(round(now.k ** (1 - now.progress) * self.end**now.progress), now.rewards_PG.size(1))
        return Decision(passk_advantages(now.rewards_PG, k), {"k": k})
