"""Guard: holds pass@1 where it started, by what the rollouts of training show of it."""

import math

from torch import Tensor

from .controller import Controller, Decision, Situation, mixed_advantages


class Guard(Controller):
    """
    Mixes as much of pass@1's gradient into pass@k's as keeps the measured pass@1 from falling: "raise pass@k subject
    to pass@1 ≥ its start", whose multiplier is set by proportional and integral control (Stooke et al., 2020, arXiv
    2007.03964). It needs no probe; it acts on what has fallen, not on what will.

    The share λ of pass@1 is `gain` times what pass@1 lacks, a running mean over batches, and `rate` times its sum.

    Args:
        floor (`float`, *optional*):
            The pass@1 to hold, on the training prompts. If `None`, that of the first `horizon` batches.
        horizon (`int`, *optional*, defaults to `20`):
            Batches that the running mean looks back; the first as many leave λ as it is.
        gain (`float`, *optional*, defaults to `3.0`):
            What λ has more for each unit that pass@1 lacks.
        rate (`float`, *optional*, defaults to `0.05`):
            By how much more λ grows in each batch that it lacks it.
        start (`float`, *optional*, defaults to `0.3`):
            λ at the start.
    """

    remembered = ("integral", "running", "batches", "held")

    def __init__(
        self,
        floor: float | None = None,
        horizon: int = 20,
        gain: float = 3.0,
        rate: float = 0.05,
        start: float = 0.3,
    ):
        if horizon < 1:
            raise ValueError(f"horizon={horizon} is no number of batches; set at least 1.")
        if not 0 <= start <= 1:
            raise ValueError(f"start={start} is no share; set a number from 0 to 1.")
        self.floor, self.horizon, self.gain, self.rate = floor, horizon, gain, rate
        self.integral, self.running, self.batches, self.held = start, 0.0, 0, floor

    def decide(self, now: Situation) -> Decision:
        share = min(1.0, max(0.0, self.wanted_share(now.rewards_PG)))
        return Decision(mixed_advantages(now.rewards_PG, now.k, share), {"share": share, "pass@1": self.running})

    def wanted_share(self, rewards_PG: Tensor) -> float:
        """λ after a batch with these rewards; below 0 or above 1 where that is what it takes."""
        pass1 = float(rewards_PG.nanmean(dim=1).nanmean())
        if not math.isnan(pass1):  # else nothing of this batch could be scored
            self.batches += 1
            self.running += (pass1 - self.running) / min(self.batches, self.horizon)
            if self.batches >= self.horizon:
                self.held = self.running if self.held is None else self.held
                self.integral = min(1.0, max(0.0, self.integral + self.rate * self._lack))
        return self.integral + self.gain * self._lack

    @property
    def _lack(self) -> float:
        return 0.0 if self.held is None or self.batches < self.horizon else self.held - self.running
