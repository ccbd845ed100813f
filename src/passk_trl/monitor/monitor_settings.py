"""The settings of a monitor, and the checks that need no trainer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset
from trl import GRPOConfig

from passk_trl.gradients.store import fit_exactly
from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.objectives import Objective, objective_from
from passk_trl.rollout_trainer import RolloutTrainer


NUM_PROMPTS, NUM_ROLLOUTS, WINDOW = 64, 16, 2048
"""What a probe, and a ride, measure by default."""


@dataclass(frozen=True, eq=False)
class MonitorSettings:
    """
    The arguments of [`~passk_trl.ConflictMonitor`], where they are documented and have their defaults.

    Raises:
        `ValueError`: if one is out of range, or `probe_dataset` is too small or has no column that another names.
    """

    probe_dataset: Dataset | None
    every: int
    num_prompts: int
    num_rollouts: int
    ks: Sequence[float] | None
    parameters: str
    gram: str
    confidence: float
    probe_batch_size: int | None
    max_overhead: float | None
    success_threshold: float | None
    at_start: bool
    seed: int
    forecast: bool
    stratify_by: str | None
    objectives: Sequence[Objective]
    ride: bool
    window: int

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_choices()
        if self.ride:
            self._check_ride()
        else:
            if self.window != WINDOW:
                raise ValueError(f"window={self.window} is that of a ride; set ride to True, or leave it out.")
            self._check_dataset()

    def rides_exactly(self, num_parameters: int) -> bool:
        """Whether a ride keeps the gradients of so many parameters whole."""
        return self.gram == "exact" or (self.gram == "auto" and fit_exactly(self.window, num_parameters))

    def _check_numbers(self) -> None:
        if self.every < 1:
            raise ValueError(f"every={self.every} is not a number of steps; set at least 1.")
        if self.num_prompts < FEWEST_PROMPTS:
            raise ValueError(
                f"num_prompts={self.num_prompts} is too few for an error bar; set at least {FEWEST_PROMPTS}, better "
                "64."
            )
        if self.num_rollouts < 3:
            raise ValueError(
                f"num_rollouts={self.num_rollouts} shows no k above 1; set at least 3, better twice the k of training."
            )
        if not 0 < self.confidence < 1:
            raise ValueError(
                f"confidence={self.confidence} is not a level; set a number between 0 and 1, such as 0.95."
            )
        if self.ks is not None and not len(self.ks):
            raise ValueError(
                "ks is empty; set numbers from 1 to num_rollouts - 1, or leave it out to measure them all."
            )
        if self.ks is not None and min(self.ks) < 1:
            raise ValueError(f"ks={list(self.ks)} holds a k below 1; set numbers from 1 to num_rollouts - 1.")
        if self.probe_batch_size is not None and self.probe_batch_size < 1:
            raise ValueError(f"probe_batch_size={self.probe_batch_size} is not a number of prompts; set at least 1.")
        if self.max_overhead is not None and not 0 < self.max_overhead < 1:
            raise ValueError(
                f"max_overhead={self.max_overhead} is not a fraction of the time; set a number between 0 and 1."
            )

    def _check_choices(self) -> None:
        if self.gram not in ("auto", "exact", "sketch"):
            raise ValueError(f"gram={self.gram!r} is unknown; set 'auto', 'exact' or 'sketch'.")
        try:
            re.compile(self.parameters)
        except re.error as error:
            raise ValueError(
                f"parameters={self.parameters!r} is not a regular expression: {error}; set 'all' or one."
            ) from error

    def _check_ride(self) -> None:
        if self.window < FEWEST_PROMPTS:
            raise ValueError(
                f"window={self.window} is too few prompts for an error bar; set at least {FEWEST_PROMPTS}, better "
                "2048."
            )
        needs_probes = {
            "probe_dataset": self.probe_dataset is not None,
            "at_start": self.at_start,
            "stratify_by": self.stratify_by is not None,
            "max_overhead": self.max_overhead is not None,
            "num_prompts": self.num_prompts != NUM_PROMPTS,
            "num_rollouts": self.num_rollouts != NUM_ROLLOUTS,
            "probe_batch_size": self.probe_batch_size is not None,
        }
        if found := [name for name, is_set in needs_probes.items() if is_set]:
            are, them = ("is", "it") if len(found) == 1 else ("are", "them")
            raise ValueError(
                f"{', '.join(found)} {are} set, but with ride=True nothing is probed; leave {them} out, or set ride "
                "to False."
            )

    def _check_dataset(self) -> None:
        if self.probe_dataset is None and self.at_start:
            raise ValueError("at_start=True finds no training batch before the first step; give a probe_dataset.")
        columns = [] if self.probe_dataset is None else self.probe_dataset.column_names
        if self.probe_dataset is not None and len(self.probe_dataset) < self.num_prompts:
            raise ValueError(
                f"probe_dataset has {len(self.probe_dataset)} rows, fewer than num_prompts={self.num_prompts}; give "
                "more rows or lower num_prompts."
            )
        if self.probe_dataset is not None and "prompt" not in columns:
            raise ValueError(f"probe_dataset has no column 'prompt', only {columns}; rename a column.")
        if self.stratify_by is not None and self.stratify_by not in columns:
            raise ValueError(
                f"stratify_by={self.stratify_by!r} is not a column of the probe_dataset; name one, or none."
            )


def check_batch(args: GRPOConfig, num_prompts: int) -> None:
    """
    Checks that a training batch can be probed, as it is without a `probe_dataset`.

    Raises:
        `ValueError`: if the batch has too few prompts, or loses a part of what was sampled.
    """
    prompts = args.generation_batch_size // args.num_generations
    if prompts < num_prompts:
        raise ValueError(
            f"num_prompts={num_prompts} is more than the {prompts} prompts of a training batch, which is probed "
            "without a probe_dataset; lower num_prompts or raise generation_batch_size."
        )
    if args.mask_truncated_completions:
        raise ValueError(
            "mask_truncated_completions=True leaves nothing of truncated completions in the training batch, which is "
            "probed without a probe_dataset; give one, or set it to False."
        )


def measured_ks(settings: MonitorSettings, training_k: int, num_rollouts: int) -> list[float]:
    """
    The k of the settings, and the k trained for.

    Raises:
        `ValueError`: if so many rollouts do not show them all.
    """
    chosen = range(1, num_rollouts) if settings.ks is None else settings.ks
    ks = sorted({*chosen, training_k})
    if ks[-1] > num_rollouts - 1:
        setting = _rollouts_setting(settings)
        shown = [k for k in chosen if k < num_rollouts]
        or_ks = f", or ks to {shown}" if training_k < num_rollouts else ""
        raise ValueError(
            f"{setting}={num_rollouts} shows k up to {num_rollouts - 1} only, not k={ks[-1]:g}; set {setting} to "
            f"{int(ks[-1]) + 1} or more{or_ks}."
        )
    return ks


def measured_objectives(settings: MonitorSettings, trainer: RolloutTrainer, num_rollouts: int) -> list[Objective]:
    """
    The objectives of the settings, and the objective trained for.

    Raises:
        `ValueError`: if so many rollouts do not show them all.
    """
    objectives = list(settings.objectives)
    trained_for = getattr(trainer.args, "objective", None)
    if trained_for is not None and trained_for not in [objective.name for objective in objectives]:
        objectives.append(objective_from(trained_for))
    for objective in objectives:
        if objective.attempts > num_rollouts - 1:
            setting = _rollouts_setting(settings)
            raise ValueError(
                f"{setting}={num_rollouts} does not show {objective.name}; set {setting} to {objective.attempts + 1} "
                "or more."
            )
    return objectives


def _rollouts_setting(settings: MonitorSettings) -> str:
    """The setting that determines the number of rollouts."""
    return "num_rollouts" if settings.probe_dataset is not None else "num_generations"
