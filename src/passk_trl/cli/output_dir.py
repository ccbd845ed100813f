"""The settings a run leaves in its output directory, by which another run is kept from overwriting it."""

import json
from pathlib import Path
from typing import Any

from trl import ModelConfig, ScriptArguments

from passk_trl import PassKGRPOConfig


_FILE = "training_args.json"

# What makes a run another run.
_IDENTITY = ("model_name_or_path", "dataset_name", "dataset_config", "pass_at_k", "objective", "mitigation")


def run_settings(
    script_args: ScriptArguments, training_args: PassKGRPOConfig, model_args: ModelConfig
) -> dict[str, Any]:
    """The settings of a run: its training arguments, and which model and data they are for."""
    return training_args.to_dict() | {
        "model_name_or_path": model_args.model_name_or_path,
        "dataset_name": script_args.dataset_name,
        "dataset_config": script_args.dataset_config,
    }


def write_settings(training_args: PassKGRPOConfig, settings: dict[str, Any]) -> None:
    """Leaves the settings in the output directory, where the report finds them too."""
    path = Path(training_args.output_dir, _FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2))


def check_output_dir(training_args: PassKGRPOConfig, settings: dict[str, Any], overwrite: bool) -> None:
    """Raises `ValueError` if the output directory holds a run with another model, dataset or objective."""
    path = Path(training_args.output_dir, _FILE)
    if overwrite or training_args.resume_from_checkpoint or not path.exists():
        return
    try:
        before = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}; set another output_dir, or delete it.") from error
    for name in _IDENTITY:
        if before.get(name, settings[name]) != settings[name]:
            raise ValueError(
                f"output_dir={training_args.output_dir!r} holds a run with {name}={before[name]!r}, not "
                f"{settings[name]!r}; set another output_dir, or overwrite_output_dir to true to replace it."
            )
