"""How long a run is, and whether that is enough for its monitor to raise an alarm."""

import logging
import math
from typing import Any, NamedTuple

from transformers import TrainerState
from transformers.trainer_utils import has_length

from passk_trl.rollout_trainer import RolloutTrainer

from .monitor_settings import MonitorSettings
from .window import FEWEST_OF_LOOK, first_block, look_sizes


logger = logging.getLogger(__name__)


class RunLength(NamedTuple):
    """
    How much a run trains.

    Attributes:
        steps (`int`): optimizer steps of the whole run.
        prompts (`int`): prompts that are generated at a time, of all processes.
        epoch (`int`, *optional*): micro-batches of an epoch, whose last step may have fewer than the others; `None`
            for a stream.
        done (`int`): the step that it begins after: not 0 for a resumed run.
    """

    steps: int
    prompts: int
    epoch: int | None = None
    done: int = 0


def run_length(args: Any, processes: int, num_rows: int | None) -> RunLength | None:
    """
    How much a run will train, as TRL and transformers count it; `None` if that cannot be known.

    Args:
        args ([`~trl.GRPOConfig`]): the settings of training.
        processes (`int`): number of processes.
        num_rows (`int`, *optional*): prompts of the training dataset; `None` for a stream.
    """
    prompts = args.per_device_train_batch_size * processes * args.steps_per_generation // args.num_generations
    epoch = None if num_rows is None else num_rows // prompts * args.steps_per_generation * args.num_iterations
    if args.max_steps > 0:
        return RunLength(args.max_steps, prompts, epoch)
    if epoch is None:
        return None
    return RunLength(math.ceil(args.num_train_epochs * _steps_of_epoch(args, epoch)), prompts, epoch)


def warn_of_alarm(trainer: RolloutTrainer, settings: MonitorSettings, state: TrainerState, is_exact: bool) -> None:
    """Logs [`alarm_warnings`] when training begins."""
    if not trainer.accelerator.is_main_process:
        return
    args, dataset = trainer.args, trainer.train_dataset
    run = run_length(args, args.world_size, len(dataset) if has_length(dataset) else None)
    if run is not None:
        run = RunLength(state.max_steps, run.prompts, run.epoch, state.global_step)
    for warning in alarm_warnings(settings, args, run, is_exact):
        logger.warning(warning)


def alarm_warnings(settings: MonitorSettings, args: Any, run: RunLength | None, is_exact: bool) -> list[str]:
    """
    Why the alarm of a run can never come, or comes more often than promised; a sentence for each reason.

    Args:
        settings ([`MonitorSettings`]): those of the monitor.
        args ([`~trl.GRPOConfig`]): the settings of training.
        run ([`RunLength`], *optional*): how much it trains, where that is known.
        is_exact (`bool`): whether a ride keeps gradients whole, so that its first block is not a small one.
    """
    if run is not None and settings.every > run.steps and not settings.at_start:
        return [
            f"every={settings.every} is more than the {run.steps:,} steps of this run, so it makes no report and "
            f"raises no alarm; set every to {run.steps} or less."
        ]
    # One report is enough for an alarm if it is clear, so a probing monitor can raise one from its first on.
    trains_pass1 = getattr(args, "pass_at_k", 1) == 1 and getattr(args, "objective", None) is None
    if not settings.ride or trains_pass1:  # pass@1 is never in conflict with itself
        return []
    warnings = []
    if run is not None and (too_short := _too_short(settings, args, run, is_exact)):
        warnings.append(too_short)
    if settings.window < FEWEST_OF_LOOK:
        warnings.append(
            f"window={settings.window} is so small that the alarm may come in more than "
            f"{100 * (1 - settings.confidence):g}% of runs without a conflict; set window to {FEWEST_OF_LOOK} or "
            "more if you go by conflict/in_conflict."
        )
    return warnings


def _too_short(settings: MonitorSettings, args: Any, run: RunLength, is_exact: bool) -> str | None:
    last_report = run.steps // settings.every * settings.every
    batches = _batches_trained(args, run, last_report)
    needed = _batches_needed(settings.window, run.prompts, is_exact)
    if needed <= batches:
        return None
    remedies = ["train longer"]
    if needed <= _batches_trained(args, run, run.steps):
        remedies.append(f"set every to a number that divides {run.steps}")
    larger = _window_of_early_looks(settings.window)
    stays_exact = settings.gram == "exact"  # with "auto", gradients of a larger window may not be kept whole
    if _batches_needed(larger, run.prompts, stays_exact) <= batches:
        remedies.append(f"set window to {larger}")
    *others, last = remedies
    since = f" after step {run.done}" if run.done else ""
    return (
        f"no alarm can come: up to the last report, at step {last_report}, this run trains on "
        f"{batches * run.prompts:,} prompts{since}, and with window={settings.window} the alarm first looks at "
        f"{needed * run.prompts:,}; {', '.join([*others, f'or {last}' if others else last])}."
    )


def _steps_of_epoch(args: Any, micro_batches: int) -> int:
    return max(1, -(-micro_batches // args.gradient_accumulation_steps))


def _batches_trained(args: Any, run: RunLength, last: int) -> int:
    """Generated batches that a run trains on for the first time, to the end, from its beginning to step `last`."""
    micro_batches = _micro_batches(args, run, last) - _micro_batches(args, run, min(run.done, last))
    return (micro_batches - args.steps_per_generation) // (args.steps_per_generation * args.num_iterations) + 1


def _micro_batches(args: Any, run: RunLength, steps: int) -> int:
    """Of so many steps from step 0 on."""
    if run.epoch is None:
        return steps * args.gradient_accumulation_steps
    epochs, steps_in_epoch = divmod(steps, _steps_of_epoch(args, run.epoch))
    return epochs * run.epoch + steps_in_epoch * args.gradient_accumulation_steps


def _batches_needed(window: int, prompts: int, is_exact: bool) -> int:
    """Batches until the alarm first looks at a block. Each block begins with a batch, and its last one is whole."""
    until_look, small_block = (-(-size // prompts) for size in (look_sizes(window)[0], first_block(window)))
    looks_at_first_block = is_exact or small_block >= until_look
    return until_look if looks_at_first_block else small_block + until_look


def _window_of_early_looks(window: int) -> int:
    """The next larger window at whose first block the alarm looks after the fewest prompts, sketched or not."""
    larger = FEWEST_OF_LOOK
    while larger <= window or first_block(larger) < FEWEST_OF_LOOK:
        larger *= 2
    return larger
