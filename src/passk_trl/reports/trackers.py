"""Figures for the trackers of `report_to` that take images: TensorBoard, W&B and Trackio."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from transformers import Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from .run import read_run


if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LogImage = Callable[[str, np.ndarray, int], None]

_DOTS_PER_INCH = 150


def log_figures(trainer: Trainer, step: int) -> None:
    """
    Logs what `conflict.jsonl` shows so far to each of a trainer's trackers that takes images; without one, nothing is
    drawn. To be called on the main process, whose trackers these are.

    Args:
        trainer ([`~transformers.Trainer`]): the trainer, with a probe in its `output_dir`.
        step (`int`): the step to log at.
    """
    image_logs = [log for callback in trainer.callback_handler.callbacks if (log := _image_log(callback)) is not None]
    if not image_logs:
        return
    from .figures import draw_agreement, draw_heat_map  # matplotlib takes a second, which few runs need to wait

    run = read_run(trainer.args.output_dir)
    for name, draw in {"conflict/cosine_over_k": draw_heat_map, "conflict/agreement": draw_agreement}.items():
        pixels_HWC = _pixels(draw(run))
        for log in image_logs:
            log(name, pixels_HWC, step)


def _image_log(callback: TrainerCallback) -> _LogImage | None:
    """How a tracker takes an image, `None` for a callback that takes none or has not begun."""
    if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
        return lambda name, pixels, step: callback.tb_writer.add_image(name, pixels, step, dataformats="HWC")
    if isinstance(callback, WandbCallback) and callback._initialized:
        tracker = callback._wandb
    elif isinstance(callback, TrackioCallback) and callback._initialized:
        tracker = callback._trackio
    else:
        return None
    # As these callbacks log: the step is a metric, for their own counts calls.
    return lambda name, pixels, step: tracker.log({name: tracker.Image(pixels), "train/global_step": step})


def _pixels(figure: "Figure") -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
