"""Guard: holds pass@1 where it started, judged by the rewards of the training rollouts."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor

from .controller import Decision, Situation
from .mixing import Mixing


class Guard(Mixing):
    r"""
    Mixes as much of pass@1's gradient into pass@k's as keeps the measured pass@1 from falling: "raise pass@k subject
    to pass@1 ≥ its start". Proportional and integral control set the multiplier of that constraint (Stooke et al.,
    2020, arXiv 2007.03964). It needs no probe. It reacts to a fall of pass@1 and does not foresee one.

    The share of pass@1 is λ = `start` + `gain` · shortfall + `rate` · Σ shortfall, clipped to 0 … 1. The shortfall is
    the `floor` minus pass@1, where pass@1 is a mean over about the last `horizon` batches. A batch
    changes λ for later batches only. If it changed its own, its expected gradient would not be the mixture.

    It is blind in its first `horizon` batches, where λ is `start`, and in a batch in which no rollout could be scored.

    Args:
        floor (`float`, *optional*):
            The pass@1 to hold, on the training prompts. If `None`, it is the pass@1 of the first `horizon` batches
            plus `margin` standard errors; these batches are trained with λ = `start`.
        horizon (`int`, *optional*, defaults to `20`):
            Batches that pass@1 is averaged over. λ changes only after as many batches. Resume a run with the same
            horizon: with a larger one, the floor would be learnt further.
        gain (`float`, *optional*, defaults to `3.0`):
            Change of λ for a shortfall of 1: 0.03 for a point in 100.
        rate (`float`, *optional*, defaults to `0.05`):
            Change of λ for a shortfall of 1, added in each batch.
        start (`float`, *optional*, defaults to `0.3`):
            λ at the start.
        margin (`float`, *optional*, defaults to `1.0`):
            How far the learnt floor is above the pass@1 of the first batches, in standard errors of that pass@1.
    """

    remembered = (
        *("integral", "average", "batches", "learned_floor", "prompts", "sum_of_squares"),
        *Mixing.remembered,
    )
    # The keys under which checkpoints have always stored these.
    _key_of: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"average": "running", "learned_floor": "held", "sum_of_squares": "squares"}
    )

    def __init__(
        self,
        floor: float | None = None,
        horizon: int = 20,
        gain: float = 3.0,
        rate: float = 0.05,
        start: float = 0.3,
        margin: float = 1.0,
    ):
        if floor is not None and not 0 <= floor <= 1:
            raise ValueError(f"floor={floor} is not a pass@1: set a number from 0 to 1.")
        if horizon < 1:
            raise ValueError(f"horizon={horizon} is not a number of batches: set at least 1.")
        if not 0 <= start <= 1:
            raise ValueError(f"start={start} is not a share: set a number from 0 to 1.")
        if not (gain >= 0 and rate >= 0):
            raise ValueError(f"gain={gain} and rate={rate} would lower pass@1 where it falls short: set 0 or more.")
        self.floor, self.horizon, self.gain, self.rate, self.margin = floor, horizon, gain, rate, margin
        self.integral = start  # `start` + `rate` times the sum of the shortfalls
        self.average, self.batches = 0.0, 0  # mean pass@1 over about `horizon` batches; batches seen
        self.learned_floor, self.prompts, self.sum_of_squares = 0.0, 0, 0.0  # of the first `horizon` batches

    def decide(self, now: Situation) -> Decision:
        share, blind = min(1.0, max(0.0, self.wanted_share)), self.why_blind(now.rewards_PG)
        advantages_PG = self.mixed(now, share)
        self.watch(now.rewards_PG)
        return Decision(advantages_PG, {"share": share} | self.pass1, blind)

    @property
    def pass1(self) -> dict[str, float]:
        """The pass@1 of the latest batches, as a figure to log; empty before a batch could be scored."""
        return {"pass@1": self.average} if self.batches else {}

    @property
    def wanted_share(self) -> float:
        """λ by the batches so far, not yet clipped to 0 … 1."""
        return self.integral + self.gain * self.shortfall

    def why_blind(self, rewards_PG: Tensor) -> str | None:
        """Why pass@1 is not known in a batch with these rewards; `None` if it is."""
        if rewards_PG.isnan().all():
            return "no rollout of the batch could be scored"
        if self.batches < self.horizon:
            return f"pass@1 is not known before {self.horizon} batches"
        return None

    def watch(self, rewards_PG: Tensor) -> None:
        """Takes the pass@1 of a batch into account."""
        success_P = rewards_PG.double().nanmean(dim=1)
        success_P = success_P[~success_P.isnan()]
        if len(success_P) == 0:  # no rollout of this batch could be scored
            return
        self.batches += 1
        self.average += (float(success_P.mean()) - self.average) / min(self.batches, self.horizon)
        if self.batches <= self.horizon:
            self._learn_floor(success_P)
        self.integral = min(1.0, max(0.0, self.integral + self.rate * self.shortfall))

    @property
    def shortfall(self) -> float:
        """The floor minus pass@1; 0 until `horizon` batches were seen."""
        if self.batches < self.horizon:
            return 0.0
        return (self.learned_floor if self.floor is None else self.floor) - self.average

    def _learn_floor(self, success_P: Tensor) -> None:
        self.prompts += len(success_P)
        self.sum_of_squares += float(success_P.square().sum())
        variance = max(0.0, self.sum_of_squares / self.prompts - self.average**2)
        self.learned_floor = self.average + self.margin * (variance / self.prompts) ** 0.5
