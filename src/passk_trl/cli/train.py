"""`passk-trl train --config recipe.yaml`; under a launcher `accelerate launch -m passk_trl.cli.train --config …`."""

import inspect
import json
import logging
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, IterableDataset
from trl import ModelConfig, get_peft_config, get_quantization_config

from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.control import CONTROLLERS
from passk_trl.control.controller import check_controllable
from passk_trl.monitor.monitor_settings import check_batch
from passk_trl.reports.text import write_report
from passk_trl.rollouts.probe_sets import hold_out, overlap

from .checkpoint import model_init_kwargs
from .data import PromptArguments, checked_rewards, load_splits, with_columns
from .dry_run import dry_run, model_config, tokenizer_for
from .output_dir import check_output_dir, run_settings, write_settings
from .recipe import parse_recipe, readable_errors
from .settings import arguments_of, check_settings


logger = logging.getLogger(__name__)

_MONITOR = ", ".join(
    f"{name}={parameter.default}"
    for name, parameter in inspect.signature(ConflictMonitor).parameters.items()
    if name != "probe_dataset"
)

_DESCRIPTION = f"""Trains a policy for pass@k, and measures meanwhile from which k on that works against pass@1.

  passk-trl train --config recipes/quickstart/config_pass8.yaml --dry-run
  accelerate launch -m passk_trl.cli.train --config recipes/quickstart/config_pass8.yaml --learning_rate 5e-4

The block `monitor:` has, with these defaults and to be overridden as in --monitor.every 20:
{textwrap.fill(_MONITOR, 100, initial_indent="  ", subsequent_indent="  ")}

The block `mitigation:` has `controller`, one of {", ".join(CONTROLLERS)} (all after governor: experiments),
and the arguments of that one; without it, plain pass@k is trained.

reward_funcs and dataset_name may be import paths, which run the code they name."""

# The `dataset_probe_split` that need not be a split.
PROBE_BATCH = "batch"


@dataclass
class TrainArguments(PromptArguments):
    """
    Arguments of `passk-trl train` besides those of [`PromptArguments`], [`PassKGRPOConfig`] and [`~trl.ModelConfig`].

    Args:
        dataset_probe_split (`str`, *optional*):
            Split whose prompts the monitor probes, but for those that are trained on too. If `None`, the split
            `probe` where there is one, else the test split. With `"batch"` it probes the batch just trained on, and
            generates nothing.
        hold_out_prompts (`int`, *optional*):
            Prompts to hold out of the training split, by what they say, for the monitor to probe instead.
        monitor (`dict`, *optional*):
            Arguments of the [`ConflictMonitor`], such as `{every: 20, num_rollouts: 16}`. No monitor if `None`.
        mitigation (`dict`, *optional*):
            A controller of [`passk_trl.control`] by its name, with its arguments, such as `{controller: governor}`.
            Plain pass@k if `None`.
        overwrite_output_dir (`bool`, *optional*, defaults to `False`):
            Whether `output_dir` may hold a run with another model, dataset or objective, whose files are replaced.
        beside (`list[str]`, *optional*):
            Output directories of other runs to set beside this one in its closing report.
    """

    dataset_probe_split: str | None = field(
        default=None,
        metadata={
            "help": "Split whose prompts the monitor probes, but for those that are trained on too. If `None`, the "
            "split `probe` where there is one, else the test split. With 'batch' it probes the batch just trained "
            "on, and generates nothing."
        },
    )
    hold_out_prompts: int | None = field(
        default=None,
        metadata={
            "help": "Prompts to hold out of the training split, by what they say, for the monitor to probe instead."
        },
    )
    monitor: dict | str | None = field(
        default=None,
        metadata={
            "help": "Arguments of the ConflictMonitor, such as {every: 20, num_rollouts: 16} (JSON on the command "
            "line). No monitor if `None`."
        },
    )
    mitigation: dict | str | None = field(
        default=None,
        metadata={
            "help": "A controller that keeps pass@1 from falling, by its name, with its arguments, such as "
            "{controller: governor} (JSON on the command line). Plain pass@k if `None`."
        },
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={
            "help": "Whether `output_dir` may hold a run with another model, dataset or objective, whose files are "
            "replaced."
        },
    )
    beside: list[str] | None = field(
        default=None,
        metadata={"help": "Output directories of other runs to set beside this one in its closing report."},
    )

    def __post_init__(self) -> None:
        monitor, mitigation = (_block(name, getattr(self, name)) for name in ("monitor", "mitigation"))
        if monitor is not None:
            hints = arguments_of(ConflictMonitor.__init__, but=["probe_dataset"])
            self.monitor = check_settings(monitor, hints, "monitor.")
        if mitigation is not None:
            self.mitigation = _check_mitigation(mitigation, self.monitor is not None)


def _block(name: str, value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} is {value!r}, no JSON: {error}; set --{name}.key value for each key.") from error
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}; set a block of keys.")
    return value


def _check_mitigation(block: dict[str, Any], monitored: bool) -> dict[str, Any]:
    name = block.get("controller")
    if name not in CONTROLLERS:
        raise ValueError(f"mitigation.controller is {name!r}; set one of {', '.join(CONTROLLERS)}.")
    if CONTROLLERS[name].needs_reports and not monitored:
        raise ValueError(f"mitigation.controller is {name!r}, which acts on probes; set a monitor block too.")
    hints = arguments_of(CONTROLLERS[name].__init__)
    return check_settings(block, {"controller": str, **hints}, "mitigation.")


def build_trainer(
    script_args: TrainArguments, training_args: PassKGRPOConfig, model_args: ModelConfig
) -> PassKGRPOTrainer:
    """The trainer of a recipe, with its monitor."""
    model_config(training_args, model_args)  # before the data, which may take long to load
    given = trainer_arguments(script_args, training_args)
    tokenizer_for(training_args, model_args, given["train_dataset"])
    training_args.model_init_kwargs = model_init_kwargs(training_args, model_args)
    return PassKGRPOTrainer(
        model=model_args.model_name_or_path,
        args=training_args,
        quantization_config=get_quantization_config(model_args),
        peft_config=get_peft_config(model_args),
        **given,
    )


def trainer_arguments(script_args: TrainArguments, training_args: PassKGRPOConfig) -> dict[str, Any]:
    """
    What a recipe gives its trainer besides the model and settings: data, reward functions and monitor.

    Raises:
        `ValueError`: if a split or a column is missing, or the monitor has no prompts or too few rollouts for the k
        trained for.
    """
    splits = load_splits(script_args)
    used = {"train": ("dataset_train_split", script_args.dataset_train_split)}
    if training_args.eval_strategy != "no":
        used["eval"] = ("dataset_test_split", script_args.dataset_test_split)
    probes_batch = script_args.dataset_probe_split == PROBE_BATCH and PROBE_BATCH not in splits
    if script_args.monitor is not None and script_args.hold_out_prompts is None and not probes_batch:
        default = "probe" if "probe" in splits else script_args.dataset_test_split
        used["probe"] = ("dataset_probe_split", script_args.dataset_probe_split or default)
    for setting, split in used.values():
        if split not in splits:
            raise ValueError(
                f"dataset_name={script_args.dataset_name!r} has no split '{split}', only {', '.join(splits)}; set "
                f"{setting}."
            )
    data = {use: with_columns(splits[split], script_args) for use, (_, split) in used.items()}
    if "probe" in data or script_args.hold_out_prompts is not None:
        data["train"], data["probe"] = _apart(data, script_args)
    rewards = checked_rewards(script_args, data)
    monitors = []
    if isinstance(script_args.monitor, dict):
        monitor = ConflictMonitor(data.get("probe"), **script_args.monitor)
        monitors.append(monitor)
        if probes_batch:
            check_batch(training_args, monitor.num_prompts)
        elif monitor.num_rollouts <= training_args.pass_at_k:
            raise ValueError(
                f"monitor.num_rollouts={monitor.num_rollouts} shows k up to {monitor.num_rollouts - 1} only, not "
                f"pass_at_k={training_args.pass_at_k}; set it to {training_args.pass_at_k + 1} or more."
            )
    controllers = []
    if isinstance(script_args.mitigation, dict):
        arguments = {key: value for key, value in script_args.mitigation.items() if key != "controller"}
        controllers.append(CONTROLLERS[script_args.mitigation["controller"]](**arguments))
        check_controllable(training_args, controllers)
    return {
        "train_dataset": data["train"],
        "eval_dataset": data.get("eval"),
        "reward_funcs": rewards,
        "callbacks": [*monitors, *controllers],
    }


def _apart(data: dict[str, Dataset], script_args: TrainArguments) -> tuple[Dataset, Dataset]:
    """The prompts to train on and those to probe, of which none is trained on, by what they say."""
    if script_args.hold_out_prompts is not None and script_args.dataset_probe_split is not None:
        raise ValueError("dataset_probe_split and hold_out_prompts both name the prompts to probe; set one.")
    if isinstance(data["train"], IterableDataset):
        if script_args.hold_out_prompts is not None:
            raise ValueError("dataset_streaming=True leaves no prompts to hold out; set it to False.")
        return data["train"], data["probe"]
    if script_args.hold_out_prompts is not None:
        return hold_out(data["train"], script_args.hold_out_prompts)  # the same for every seed of training
    trained_on = set(overlap(data["probe"], data["train"]))
    if not trained_on:
        return data["train"], data["probe"]
    if len(trained_on) == len(data["probe"]):
        raise ValueError("all prompts to probe are trained on too; set hold_out_prompts, or another split.")
    logger.warning("%d of %d prompts to probe are trained on too and left out.", len(trained_on), len(data["probe"]))
    return data["train"], data["probe"].select([row for row in range(len(data["probe"])) if row not in trained_on])


def _dry_run(
    script_args: TrainArguments, training_args: PassKGRPOConfig, model_args: ModelConfig, processes: int
) -> str:
    model_config(training_args, model_args)
    given = trainer_arguments(script_args, training_args)
    monitor = next((each for each in given["callbacks"] if isinstance(each, ConflictMonitor)), None)
    datasets = {
        "train on": given["train_dataset"],
        "evaluate on": given["eval_dataset"],
        "probe": monitor.probe_dataset if monitor else None,
    }
    return dry_run(training_args, model_args, given["reward_funcs"], datasets, monitor, processes=processes)


def main(args: Sequence[str] | None = None) -> None:
    """Trains as the recipe says, saves model and state, and prints the run's report."""
    prog = "passk-trl train"
    with readable_errors(prog, args):
        script_args, training_args, model_args, processes = parse_recipe(
            (TrainArguments, PassKGRPOConfig, ModelConfig), prog, args, _DESCRIPTION
        )
        settings = run_settings(script_args, training_args, model_args) | {"mitigation": script_args.mitigation}
        check_output_dir(training_args, settings, script_args.overwrite_output_dir)
        if processes is not None:
            told = _dry_run(script_args, training_args, model_args, processes)
            print(told if training_args.process_index == 0 else "", end="")
            return
        trainer = build_trainer(script_args, training_args, model_args)
    if trainer.accelerator.is_main_process:
        write_settings(training_args, settings)
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model(training_args.output_dir)
    trainer.save_state()
    if trainer.accelerator.is_main_process:
        print("\n" + write_report(training_args.output_dir, script_args.beside or ()))
    trainer.end()


if __name__ == "__main__":
    main()
