"""Guard: holds pass@1 where it started, by what the rollouts of training show of it."""

from torch import Tensor

from .controller import Controller, Decision, Situation
from .mixing import mixed_advantages


class Guard(Controller):
    r"""
    Mixes as much of pass@1's gradient into pass@k's as keeps the measured pass@1 from falling: "raise pass@k subject
    to pass@1 ≥ its start", whose multiplier is set by proportional and integral control (Stooke et al., 2020, arXiv
    2007.03964). It needs no probe; it acts on what has fallen, not on what will.

    The share of pass@1 is λ = `start` + `gain` · lack + `rate` · Σ lack, kept from 0 to 1, where lack is by how much
    pass@1, as a mean over the last `horizon` batches or so, is below the `floor`.

    Args:
        floor (`float`, *optional*):
            The pass@1 to hold, on the training prompts. If `None`, that of the first `horizon` batches, which are
            trained with λ = `start`, and `margin` standard errors more.
        horizon (`int`, *optional*, defaults to `20`):
            Batches that pass@1 is averaged over. λ moves only when as many have been seen. Resume a run with the one
            that it had: with a larger one, what is held would be learnt further.
        gain (`float`, *optional*, defaults to `3.0`):
            Change of λ for a unit of pass@1 that is lacking: 0.03 for a point in 100.
        rate (`float`, *optional*, defaults to `0.05`):
            The same for each batch in which it is lacking.
        start (`float`, *optional*, defaults to `0.3`):
            λ at the start.
        margin (`float`, *optional*, defaults to `1.0`):
            What is held above the pass@1 of the first batches, in standard errors of it.
    """

    remembered = ("integral", "running", "batches", "held", "prompts", "squares")

    def __init__(
        self,
        floor: float | None = None,
        horizon: int = 20,
        gain: float = 3.0,
        rate: float = 0.05,
        start: float = 0.3,
        margin: float = 1.0,
    ):
        if horizon < 1:
            raise ValueError(f"horizon={horizon} is no number of batches; set at least 1.")
        if not 0 <= start <= 1:
            raise ValueError(f"start={start} is no share; set a number from 0 to 1.")
        if min(gain, rate) < 0:
            raise ValueError(f"gain={gain} and rate={rate} would lower pass@1 where it lacks; set 0 or more.")
        self.floor, self.horizon, self.gain, self.rate, self.margin = floor, horizon, gain, rate, margin
        self.integral, self.running, self.batches, self.held = start, 0.0, 0, 0.0
        self.prompts, self.squares = 0, 0.0

    def decide(self, now: Situation) -> Decision:
        share = min(1.0, max(0.0, self.wanted_share(now.rewards_PG)))
        return Decision(mixed_advantages(now.rewards_PG, now.k, share), {"share": share, "pass@1": self.running})

    def wanted_share(self, rewards_PG: Tensor) -> float:
        """λ after a batch with these rewards; below 0 or above 1 where that is what it takes."""
        success_P = rewards_PG.double().nanmean(dim=1)
        success_P = success_P[~success_P.isnan()]
        if len(success_P):  # else nothing of this batch could be scored
            self.batches += 1
            self.running += (float(success_P.mean()) - self.running) / min(self.batches, self.horizon)
            if self.batches <= self.horizon:
                self._learn_start(success_P)
            self.integral = min(1.0, max(0.0, self.integral + self.rate * self.lack))
        return self.integral + self.gain * self.lack

    @property
    def lack(self) -> float:
        """By how much pass@1 is below what is held; 0 until that is known."""
        if self.batches < self.horizon:
            return 0.0
        return (self.held if self.floor is None else self.floor) - self.running

    def _learn_start(self, success_P: Tensor) -> None:
        self.prompts += len(success_P)
        self.squares += float(success_P.square().sum())
        variance = max(0.0, self.squares / self.prompts - self.running**2)
        self.held = self.running + self.margin * (variance / self.prompts) ** 0.5
