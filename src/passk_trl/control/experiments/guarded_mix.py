"""GuardedMix: the share that the latest probes ask for, corrected by how pass@1 then moves."""

from ..controller import Decision, Situation
from ..guard import Guard
from ..smallest_share import smallest_share
from ..two_gradients import two_gradients


class GuardedMix(Guard):
    """
    [`Mix`] and [`Guard`] in one. It takes the share of pass@1's gradient that removes the conflict of the latest
    probes, to first order. It raises that share where the pass@1 of the training rollouts is below the floor, and
    lowers it where it is above. At the floor this is [`Mix`]; without probes it is [`Guard`].

    It is blind where one of the two is. It then acts by the other alone.

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
            raise ValueError(f"probes={probes} is not a number of probes: set at least 1.")
        super().__init__(floor, horizon, gain, rate, 0.0, margin)
        self.probes = probes

    def decide(self, now: Situation) -> Decision:
        found = two_gradients(now.reports[-self.probes :], now.k)
        measured, correction = smallest_share(found.inner_product, found.pass1_norm_squared), self.wanted_share
        share, blind = min(1.0, max(0.0, measured + correction)), found.blind or self.why_blind(now.rewards_PG)
        advantages_PG = self.mixed(now, share, found.mean_weight)
        self.watch(now.rewards_PG)
        self.integral = min(self.integral, 1 - measured)  # a larger one could not raise the share, only delay its fall
        return Decision(advantages_PG, {"share": share, "correction": correction} | self.pass1, blind)
