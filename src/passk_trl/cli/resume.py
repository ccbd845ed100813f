"""Where a run is taken up again: from a named checkpoint, or from the newest that is complete."""

import json
import logging
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import TrainerState

from passk_trl import PassKGRPOConfig


logger = logging.getLogger(__name__)

_STATE = "trainer_state.json"  # the last file of a checkpoint, and of a run that has ended


def wants_newest(training_args: PassKGRPOConfig) -> bool:
    """Whether `resume_from_checkpoint` is true, in YAML or on the command line, and names no checkpoint."""
    return str(training_args.resume_from_checkpoint).lower() == "true"


def checkpoint_to_resume(training_args: PassKGRPOConfig) -> Path | None:
    """
    The checkpoint that training goes on from; `None` for a run that begins at step 0.

    Raises:
        `ValueError`: if a named checkpoint does not exist or is incomplete, or a run has ended without any.
    """
    output_dir = Path(training_args.output_dir)
    if str(training_args.resume_from_checkpoint).lower() in ("none", "false"):
        return None
    if not wants_newest(training_args):
        return _named(Path(training_args.resume_from_checkpoint), output_dir)
    newest = _newest(output_dir)
    if newest is not None or has_ended(training_args):
        return newest
    if (output_dir / _STATE).exists():
        raise ValueError(
            f"output_dir={training_args.output_dir!r} holds a run that ended before this one would, and no checkpoint "
            "to go on from: leave resume_from_checkpoint out to begin anew, and set save_strategy."
        )
    logger.warning("%s has no checkpoint to resume from: training begins at step 0.", output_dir)
    return None


def has_ended(training_args: PassKGRPOConfig) -> bool:
    """Whether the run in the output directory has trained as long as it is to be trained, and was saved."""
    state = _state(Path(training_args.output_dir))
    if state is None:
        return False
    if training_args.max_steps > 0:
        return state.global_step >= training_args.max_steps
    return (state.epoch or 0) >= training_args.num_train_epochs


def set_aside(output_dir: Path, resumed: Path | None) -> None:
    """
    Moves the files of an earlier run into a folder of their own: for a new run all checkpoints, and for a resumed one
    those of later steps. So the checkpoints of a directory are of one run, and the newest has the highest step.

    Args:
        output_dir (`Path`):
            Where the run is saved.
        resumed (`Path`, *optional*):
            The checkpoint that it is resumed from. If `None`, it is a new run.
    """
    step = 0 if resumed is None else _state(resumed).global_step  # type: ignore[union-attr]  # it is complete
    earlier = [path for path in _checkpoints(output_dir) if _step(path) > step]
    if resumed is None and (output_dir / _STATE).exists():
        earlier.append(output_dir / _STATE)
    if not earlier:
        return
    name = f"earlier-{datetime.now():%Y%m%d-%H%M%S}"
    folder = output_dir / f"{name}-{len(list(output_dir.glob(f'{name}-*')))}"  # two in a second differ
    folder.mkdir()
    for path in earlier:
        path.rename(folder / path.name)
    names = ", ".join(path.name for path in earlier)
    logger.warning("%s: %s of an earlier run moved to %s.", output_dir, names, folder.name)


def _named(path: Path, output_dir: Path) -> Path:
    asked = f"resume_from_checkpoint={str(path)!r}"
    inside = [each for each in _checkpoints(path) if _missing(each) is None]
    if inside:
        raise ValueError(f"{asked} is the directory of a run; did you mean '{inside[-1]}'?")
    if not path.is_dir():
        there = [str(each) for each in _checkpoints(output_dir)]
        instead = f"one of {', '.join(there)}" if there else "the path of a checkpoint"
        raise ValueError(f"{asked} does not exist; set {instead}, or true for the newest in output_dir.")
    if missing := _missing(path):
        raise ValueError(f"{asked} is not complete: {missing}; set another, or true for the newest in output_dir.")
    return path


def _newest(output_dir: Path) -> Path | None:
    for path in reversed(_checkpoints(output_dir)):
        missing = _missing(path)
        if missing is None:
            return path
        logger.warning("%s is not complete and is skipped: %s.", path, missing)
    return None


def _checkpoints(directory: Path) -> list[Path]:
    """The checkpoints in a directory by step, complete or not."""
    found = [path for path in directory.glob("checkpoint-*") if path.is_dir()]
    return sorted((path for path in found if path.name.rpartition("-")[2].isdigit()), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _missing(checkpoint: Path) -> str | None:
    """What a checkpoint lacks, as where a process was killed while it wrote; `None` if it lacks nothing."""
    if _state(checkpoint) is None:
        return f"it has no {_STATE} that can be read"
    weights = [*checkpoint.glob("*.safetensors"), *checkpoint.glob("*.bin")]
    # FSDP and DeepSpeed have theirs in folders, in formats of their own.
    has_folders = any(path.is_dir() for path in checkpoint.iterdir())
    if not has_folders and all(path.name == "training_args.bin" for path in weights):
        return "it has no weights"
    torn = [path.name for path in checkpoint.iterdir() if _is_torn(path)]
    return f"{', '.join(torn)} cannot be read" if torn else None


def _is_torn(path: Path) -> bool:
    """Whether a file of tensors does not reach to its end."""
    if path.suffix in (".pt", ".pth", ".bin"):
        return not zipfile.is_zipfile(path)  # as torch.save writes them, with a directory at the end
    if path.suffix == ".safetensors":
        try:
            safe_open(path, framework="pt")
        except (SafetensorError, OSError):
            return True
    return False


def _state(directory: Path) -> TrainerState | None:
    """The state of the trainer that was saved there; `None` if there is none, or it was not written to its end."""
    try:
        content: Any = json.loads((directory / _STATE).read_text())
        return TrainerState(**content)
    except (OSError, ValueError, TypeError):
        return None
