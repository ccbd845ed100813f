"""Figures of `conflict.jsonl` for the trackers of `report_to` that take images: TensorBoard, W&B and Trackio."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from passk_trl.reports.run import read_run
from passk_trl.rollout_trainer import RolloutTrainer

from .failures import Failures


if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LogImage = Callable[[str, np.ndarray, int], None]

_DOTS_PER_INCH = 150


class TrackerFigures(TrainerCallback):
    """
    Draws what `conflict.jsonl` shows for a trainer's trackers, at the end of each step in which the file has grown.

    It knows nothing of who writes the file, and looks only at its size. A tracker that fails does not end training.
    Add it with [`add_tracker_figures`].

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]): the trainer, whose other callbacks are the trackers.
    """

    def __init__(self, trainer: RolloutTrainer):
        self.seconds = 0.0  # that drawing and logging took
        self._trainer = trainer
        self._size = 0  # of the file, when it was last looked at
        self._failures = Failures()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._size = 0
        if state.global_step > 0:  # a resumed run, whose file shows earlier probes
            self._has_grown()
        else:
            self._log_if_grown(state.global_step)  # by a probe before the first step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._log_if_grown(state.global_step)

    def _log_if_grown(self, step: int) -> None:
        if not self._trainer.is_world_process_zero() or not self._has_grown():
            return
        began = time.perf_counter()
        try:
            _log_figures(self._trainer, step)
        except Exception as error:  # a tracker that fails must not end the training
            message = "step %d: the figures could not be logged; training goes on."
            self._failures.log(self._trainer, error, message, step)
        self.seconds += time.perf_counter() - began

    def _has_grown(self) -> bool:
        path = Path(self._trainer.args.output_dir) / "conflict.jsonl"
        size = path.stat().st_size if path.exists() else 0
        before, self._size = self._size, size
        return size > before


def add_tracker_figures(trainer: RolloutTrainer) -> None:
    """Adds [`TrackerFigures`] to a trainer, once, after all callbacks that may write `conflict.jsonl`."""
    trainer.add_callback(trainer.pop_callback(TrackerFigures) or TrackerFigures(trainer))


def _log_figures(trainer: RolloutTrainer, step: int) -> None:
    """
    Logs figures at a step to each of a trainer's trackers that takes images; without one, nothing is drawn. For the
    main process, which has the trackers.
    """
    image_logs = [log for callback in trainer.callback_handler.callbacks if (log := _image_log(callback)) is not None]
    if not image_logs:
        return
    from passk_trl.reports.figures import (  # matplotlib takes a second to import, and few runs need it
        draw_agreement,
        draw_heat_map,
    )

    run = read_run(trainer.args.output_dir)
    for name, draw in {"conflict/cosine_over_k": draw_heat_map, "conflict/agreement": draw_agreement}.items():
        pixels_HWC = _pixels(draw(run))
        for log in image_logs:
            log(name, pixels_HWC, step)


def _image_log(callback: TrainerCallback) -> _LogImage | None:
    """How to log an image to a tracker; `None` for a callback that takes no images or has not begun."""
    if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
        return lambda name, pixels, step: callback.tb_writer.add_image(name, pixels, step, dataformats="HWC")
    if isinstance(callback, WandbCallback) and callback._initialized:
        tracker = callback._wandb
    elif isinstance(callback, TrackioCallback) and callback._initialized:
        tracker = callback._trackio
    else:
        return None
    # These callbacks log the step as a metric, since the trackers' own step counts calls.
    return lambda name, pixels, step: tracker.log({name: tracker.Image(pixels), "train/global_step": step})


def _pixels(figure: "Figure") -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
