"""GuardedMix: what the latest probes ask for, and more or less by what pass@1 then does."""

from .controller import Decision, Situation
from .guard import Guard
from .mix import measured_share
from .mixing import mixed_advantages


class GuardedMix(Guard):
    """
    [`Mix`] and [`Guard`]: the share of pass@1's gradient that removes the conflict of the latest probes, to first
    order, corrected by what the rollouts of training show: more where pass@1 is below what is held, less where it is
    above. Where it is as held this is [`Mix`], and without probes [`Guard`].

    Args:
        floor (`float`, *optional*), horizon (`int`), gain (`float`), rate (`float`), margin (`float`):
            As for [`Guard`].
        probes (`int`, *optional*, defaults to `4`):
            As for [`Mix`].
    """

    needs_reports = True

    def __init__(
        self,
        floor: float | None = None,
        horizon: int = 20,
        gain: float = 3.0,
        rate: float = 0.05,
        margin: float = 1.0,
        probes: int = 4,
    ):
        if probes < 1:
            raise ValueError(f"probes={probes} is no number of probes; set at least 1.")
        super().__init__(floor, horizon, gain, rate, 0.0, margin)
        self.probes = probes

    def decide(self, now: Situation) -> Decision:
        measured, mean_weight = measured_share(now.reports[-self.probes :], now.k)
        correction = self.wanted_share(now.rewards_PG)
        self.integral = min(self.integral, 1 - measured)  # more would have to be taken back before it shows
        share = min(1.0, max(0.0, measured + correction))
        figures = {"share": share, "correction": correction, "pass@1": self.running}
        return Decision(mixed_advantages(now.rewards_PG, now.k, share, mean_weight), figures)
