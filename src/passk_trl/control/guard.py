"""Guard: holds pass@1 where it started, by what the rollouts of training show of it."""

import math

from .controller import Controller, Decision, Situation, mixed_advantages


class Guard(Controller):
    """
    Mixes as much of pass@1's gradient into pass@k's as keeps the measured pass@1 from falling: the dual ascent of
    "raise pass@k subject to pass@1 ≥ its start". It needs no probe; it acts on what has fallen, not on what will.

    The share λ of pass@1 grows by `rate` times what pass@1 lacks, a running mean over batches, and shrinks by what it
    has to spare.

    Args:
        floor (`float`, *optional*):
            The pass@1 to hold, on the training prompts. If `None`, that of the first `horizon` batches.
        horizon (`int`, *optional*, defaults to `10`):
            Batches that the running mean looks back; the first as many leave λ as it is.
        rate (`float`, *optional*, defaults to `1.0`):
            How much λ changes in a batch for each unit of pass@1.
        start (`float`, *optional*, defaults to `0.3`):
            λ at the start.
    """

    remembered = ("share", "running", "batches", "held")

    def __init__(self, floor: float | None = None, horizon: int = 10, rate: float = 1.0, start: float = 0.3):
        if horizon < 1:
            raise ValueError(f"horizon={horizon} is no number of batches; set at least 1.")
        if not 0 <= start <= 1:
            raise ValueError(f"start={start} is no share; set a number from 0 to 1.")
        self.floor, self.horizon, self.rate = floor, horizon, rate
        self.share, self.running, self.batches, self.held = start, 0.0, 0, floor

    def decide(self, now: Situation) -> Decision:
        pass1 = float(now.rewards_PG.nanmean(dim=1).nanmean())
        if not math.isnan(pass1):  # else nothing of this batch could be scored
            self._learn(pass1)
        figures = {"share": self.share, "pass@1": self.running}
        return Decision(mixed_advantages(now.rewards_PG, now.k, self.share), figures)

    def _learn(self, pass1: float) -> None:
        self.batches += 1
        self.running += (pass1 - self.running) / min(self.batches, self.horizon)
        if self.batches >= self.horizon:
            self.held = self.running if self.held is None else self.held
            self.share = min(1.0, max(0.0, self.share + self.rate * (self.held - self.running)))
