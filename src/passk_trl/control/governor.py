"""Governor: trains for the largest k that does not work against pass@1."""

from passk_trl.estimators import passk_advantages

from .controller import Controller, Decision, Situation
from .largest_free_k import largest_free_k


class Governor(Controller):
    """
    Trains for the largest k, up to the configured one, that the latest probe does not find in conflict.

    It is blind before the first probe, and where the latest probe cannot tell: noise hides pass@1's gradient, or, with
    `significant`, at no k is the whole interval above or below 0. It then trains for the configured k.

    Args:
        significant (`bool`, *optional*, defaults to `True`):
            Whether a conflict counts only where its whole interval is below 0, or as soon as its estimate is. `False`
            is the more careful choice.
    """

    needs_reports = True

    def __init__(self, significant: bool = True):
        self.significant = significant

    def decide(self, now: Situation) -> Decision:
        free_k, blind = None, "there is no report yet"
        if now.reports:
            free_k, blind = largest_free_k(now.reports[-1], now.k, self.significant), "the latest report cannot tell"
        k = now.k if free_k is None else free_k
        return Decision(passk_advantages(now.rewards_PG, k), {"k": k}, blind if free_k is None else None)
