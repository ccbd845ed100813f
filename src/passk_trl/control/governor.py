"""Governor: trains for the largest k that does not work against pass@1."""

from passk_trl.estimators import passk_advantages

from .controller import Controller, Decision, Situation
from .largest_free_k import largest_free_k


class Governor(Controller):
    """
    Trains for the largest k, up to the configured one, that the latest probe does not find in conflict.

    Args:
        significant (`bool`, *optional*, defaults to `True`):
            Whether a conflict counts only where its whole interval is below 0, or as soon as its estimate is. `False`
            is the more careful choice.
    """

    needs_reports = True

    def __init__(self, significant: bool = True):
        self.significant = significant

    def decide(self, now: Situation) -> Decision:
        k = largest_free_k(now.reports[-1], now.k, self.significant) if now.reports else now.k
        return Decision(passk_advantages(now.rewards_PG, k), {"k": k})
