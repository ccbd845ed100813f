"""Governor: trains for the largest k that does not work against pass@1."""

from passk_trl.estimators import passk_advantages
from passk_trl.interference import InterferenceReport

from .controller import Controller, Decision, Situation


def largest_free_k(report: InterferenceReport, target: int, significant: bool = True) -> int:
    """
    The largest whole k ≤ `target` among those measured that is not in conflict, nor any smaller one.

    Args:
        report ([`~passk_trl.interference.InterferenceReport`]):
            What was measured.
        target (`int`):
            The largest k to take.
        significant (`bool`, *optional*, defaults to `True`):
            Whether a conflict is one only where its whole interval is below 0, or as soon as its estimate is.
    """
    in_conflict = report.conflict if significant else report.inner_product < 0
    best = 1
    for k, conflicts in zip(report.ks.tolist(), in_conflict.tolist(), strict=True):
        if conflicts or k > target:
            break
        if k == int(k):
            best = int(k)
    return best


class Governor(Controller):
    """
    Trains for the largest k up to the one trained for that the latest probe does not find in conflict.

    Args:
        significant (`bool`, *optional*, defaults to `True`):
            Whether a conflict is one only where its whole interval is below 0, or as soon as its estimate is. `False`
            is the more careful.
    """

    needs_reports = True

    def __init__(self, significant: bool = True):
        self.significant = significant

    def decide(self, now: Situation) -> Decision:
        k = largest_free_k(now.reports[-1], now.k, self.significant) if now.reports else now.k
        return Decision(passk_advantages(now.rewards_PG, k), {"k": k})
