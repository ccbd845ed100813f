"""What becomes of a report besides its line of `conflict.jsonl`: metrics of the trainer, and sentences in the log."""

import logging
from collections.abc import Sequence
from pathlib import Path

from passk_trl.records import ProbeRecord, alarms_of
from passk_trl.rollout_trainer import RolloutTrainer
from passk_trl.rollouts.progress import without_bars

from .logged import coverage_in_words, crossing, left_out_in_words, metrics_of


logger = logging.getLogger(__name__)


def path_of_records(trainer: RolloutTrainer) -> Path:
    """Where a run's reports are kept."""
    return Path(trainer.args.output_dir) / "conflict.jsonl"


def publish(trainer: RolloutTrainer, records: Sequence[ProbeRecord], objective: str | None, overhead: float) -> None:
    """
    Publishes the latest record of a run.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]): the trainer.
        records (`Sequence[ProbeRecord]`): the records of the run, the latest last.
        objective (`str`, *optional*): name of the objective trained for; pass@k, for the `training_k`, if `None`.
        overhead (`float`): the fraction of the time since training began that all reports took.
    """
    *earlier, record = records
    is_first_covered = record.covered_parameters and not any(each.covered_parameters for each in earlier)
    if is_first_covered and trainer.accelerator.is_main_process:
        with without_bars():
            logger.info(coverage_in_words(record))
            if left_out := left_out_in_words(record):
                logger.warning(left_out)
    announce(trainer, records, objective)
    metrics = metrics_of(record, alarms_of(records, objective)[-1])
    _log(trainer, {**metrics, "conflict/overhead": overhead})


def announce(trainer: RolloutTrainer, records: Sequence[ProbeRecord], objective: str | None) -> None:
    """Says so when training enters conflict and when it leaves it, once for each crossing."""
    crossed = crossing(records, objective)
    if crossed and trainer.accelerator.is_main_process:
        with without_bars():
            logger.warning(crossed)


def _log(trainer: RolloutTrainer, metrics: dict[str, float]) -> None:
    """
    Puts the metrics into TRL's buffer, which the trainer logs. Calling `trainer.log` would flush the buffer early.
    Metrics of a report since the last log are replaced, since TRL would average the two.
    """
    buffer = trainer._metrics["train"]
    for name in [name for name in buffer if name.startswith("conflict/")]:  # this report may not tell all of them
        del buffer[name]
    for name, value in metrics.items():
        buffer[name] = [value]
