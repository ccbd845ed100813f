"""The settings of a run in its output directory, so that no other run overwrites it by mistake."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from trl import ModelConfig, ScriptArguments

from passk_trl import PassKGRPOConfig, files
from passk_trl.distributed.ranks import on_first_rank
from passk_trl.withheld import settings_without_secrets


_FILE = "training_args.json"

# Two runs that differ in one of these are different runs.
_IDENTITY = (
    "model_name_or_path",
    "dataset_name",
    "dataset_config",
    "reasoning_gym",
    "pass_at_k",
    "objective",
    "mitigation",
)


def run_settings(
    script_args: ScriptArguments, training_args: PassKGRPOConfig, model_args: ModelConfig
) -> dict[str, Any]:
    """The settings of a run: its training arguments, its model and its data, without secrets."""
    settings = training_args.to_dict() | {
        "model_name_or_path": model_args.model_name_or_path,
        "dataset_name": script_args.dataset_name,
        "dataset_config": script_args.dataset_config,
    }
    return settings_without_secrets(settings)


def write_settings(training_args: PassKGRPOConfig, settings: dict[str, Any]) -> None:
    """
    Writes the settings into the output directory. The report reads them there. All processes call this together.

    Raises:
        `OSError`: on all of them, if the first one cannot write the file.
    """
    on_first_rank(partial(files.write, Path(training_args.output_dir, _FILE), json.dumps(settings, indent=2)))


def check_output_dir(training_args: PassKGRPOConfig, settings: dict[str, Any], overwrite: bool) -> None:
    """Raises `ValueError` if the output directory holds a run with another model, dataset, objective or controller."""
    path = Path(training_args.output_dir, _FILE)
    if overwrite or training_args.resume_from_checkpoint or not path.exists():
        return
    try:
        earlier = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}; set another output_dir, or delete the file.") from error
    for name in _IDENTITY:
        if earlier.get(name, settings.get(name)) != settings.get(name):
            raise ValueError(
                f"output_dir={training_args.output_dir!r} holds a run with {name}={earlier[name]!r}, not "
                f"{settings.get(name)!r}; set another output_dir, or overwrite_output_dir to true to replace it."
            )
