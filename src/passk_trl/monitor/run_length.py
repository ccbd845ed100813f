"""How long a run is, and whether that is enough for its monitor to raise an alarm."""

import logging
import math
from typing import Any, NamedTuple

from transformers import TrainerState

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
        done (`int`): the step that it begins after: not 0 for a resumed run.
    """

    steps: int
    prompts: int
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
    if args.max_steps > 0:
        return RunLength(args.max_steps, prompts)
    if num_rows is None:
        return None
    micro_batches = num_rows // prompts * args.steps_per_generation * args.num_iterations
    steps_of_epoch = max(1, -(-micro_batches // args.gradient_accumulation_steps))
    return RunLength(math.ceil(args.num_train_epochs * steps_of_epoch), prompts)


def warn_of_alarm(trainer: RolloutTrainer, settings: MonitorSettings, state: TrainerState, is_exact: bool) -> None:
    """Logs [`alarm_warnings`] when training begins."""
    args = trainer.args
    run = RunLength(state.max_steps, args.generation_batch_size // args.num_generations, state.global_step)
    if trainer.accelerator.is_main_process:
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
    batches = _batches_trained(args, max(0, last_report - run.done))
    needed = _batches_needed(settings.window, run.prompts, is_exact)
    if needed <= batches:
        return None
    since = f" after step {run.done}" if run.done else ""
    later = "" if last_report == run.steps else f", or set every to a number that divides {run.steps}"
    return (
        f"no alarm can come: up to the last report, at step {last_report}, this run trains on "
        f"{batches * run.prompts:,} prompts{since}, and with window={settings.window} the alarm first looks at "
        f"{needed * run.prompts:,}; train longer{later}."
    )


def _batches_trained(args: Any, steps: int) -> int:
    """Generated batches that so many steps train on for the first time, to the end."""
    micro_batches = steps * args.gradient_accumulation_steps - args.steps_per_generation
    return micro_batches // (args.steps_per_generation * args.num_iterations) + 1


def _batches_needed(window: int, prompts: int, is_exact: bool) -> int:
    """Batches until the alarm first looks at a block. Each block begins with a batch."""
    first_look = look_sizes(window)[0]
    looks_at_first_block = is_exact or first_block(window) >= first_look
    blocks = [first_look] if looks_at_first_block else [first_block(window), first_look]
    return sum(-(-block // prompts) for block in blocks)
