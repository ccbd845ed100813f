"""`passk-trl train`: trains a policy as a recipe says, and reports on the run."""

import inspect
import logging
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset
from trl import ModelConfig, get_peft_config, get_quantization_config

from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.control import CONTROLLERS
from passk_trl.control.controller import Controller, check_controllable
from passk_trl.distributed.ranks import on_first_rank
from passk_trl.monitor.monitor_settings import check_batch, measured_ks
from passk_trl.reports.text import write_report
from passk_trl.rollouts.probe_sets import hold_out, overlap

from .before_loading import check_hub, check_installed, check_parameters, check_rewards, check_training
from .checkpoint import model_init_kwargs, wait_for_all_processes
from .data import IMPORTS_RUN_CODE, PromptArguments, check_split, checked_rewards, load_splits, with_columns
from .dry_run import dry_run, model_config, print_once, tokenizer_for
from .output_dir import check_output_dir, run_settings, write_settings
from .recipe import parse_recipe, readable_errors
from .resume import checkpoint_to_resume, has_ended, set_aside, wants_newest
from .settings import arguments_of, block_of, check_settings


logger = logging.getLogger(__name__)

_indented = partial(textwrap.fill, width=100, initial_indent="  ", subsequent_indent="  ")

_MONITOR = ", ".join(
    f"{name}={parameter.default}"
    for name, parameter in inspect.signature(ConflictMonitor).parameters.items()
    if name != "probe_dataset"
)

_DESCRIPTION = f"""Trains a policy for pass@k, and measures during training from which k on this works against pass@1.

  passk-trl train --config recipes/quickstart/config_pass8.yaml --dry-run
  accelerate launch -m passk_trl.cli.train --config recipes/quickstart/config_pass8.yaml --learning_rate 5e-4

The block `monitor:` has these keys, with these defaults. Override one as in --monitor.every 20:
{_indented(_MONITOR)}

The block `mitigation:` has `controller`, and the arguments of that controller. Without this block, plain pass@k is
trained. The controllers are these. Those after governor are experiments:
{_indented(", ".join(CONTROLLERS))}

{IMPORTS_RUN_CODE}"""

# The `dataset_probe_split` that stands for the training batch.
PROBE_BATCH = "batch"


@dataclass
class TrainArguments(PromptArguments):
    """
    Arguments of `passk-trl train` besides those of [`PromptArguments`], [`PassKGRPOConfig`] and [`~trl.ModelConfig`].

    Args:
        dataset_probe_split (`str`, *optional*):
            Split whose prompts the monitor probes. Prompts that are also trained on are left out. If `None`, the split
            `probe` if there is one, else the test split. With `"batch"`, the monitor probes the batch that was just
            trained on, and generates nothing.
        hold_out_prompts (`int`, *optional*):
            Number of prompts to hold out of the training split for the monitor to probe instead. No prompt with the
            same text is trained on.
        monitor (`dict`, *optional*):
            Arguments of the [`ConflictMonitor`], such as `{every: 20, num_rollouts: 16}`. No monitor if `None`.
        mitigation (`dict`, *optional*):
            The controller of [`passk_trl.control`] that keeps pass@1 from falling, by its name, with its arguments,
            such as `{controller: governor}`. Plain pass@k if `None`.
        overwrite_output_dir (`bool`, *optional*, defaults to `False`):
            Whether to replace the files of a run with another model, dataset or objective in `output_dir`, or to
            resume that run.
        beside (`list[str]`, *optional*):
            Output directories of other runs, to compare with this run in the report at its end.
    """

    dataset_probe_split: str | None = field(
        default=None,
        metadata={
            "help": "Split whose prompts the monitor probes. Prompts that are also trained on are left out. If "
            "`None`, the split `probe` if there is one, else the test split. With 'batch', the monitor probes the "
            "batch that was just trained on, and generates nothing."
        },
    )
    hold_out_prompts: int | None = field(
        default=None,
        metadata={
            "help": "Number of prompts to hold out of the training split for the monitor to probe instead. No prompt "
            "with the same text is trained on."
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
            "help": "The controller that keeps pass@1 from falling, by its name, with its arguments, such as "
            "{controller: governor} (JSON on the command line). Plain pass@k if `None`."
        },
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={
            "help": "Whether to replace the files of a run with another model, dataset or objective in `output_dir`, "
            "or to resume that run."
        },
    )
    beside: list[str] | None = field(
        default=None,
        metadata={"help": "Output directories of other runs, to compare with this run in the report at its end."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        monitor, mitigation = (block_of(name, getattr(self, name)) for name in ("monitor", "mitigation"))
        if monitor is not None and monitor.get("ride"):
            for name in ("hold_out_prompts", "dataset_probe_split"):
                if (value := getattr(self, name)) is not None:
                    raise ValueError(f"{name} is {value!r}, but with monitor.ride nothing is probed: leave it out.")
        if monitor is not None:
            hints = arguments_of(ConflictMonitor.__init__, exclude=["probe_dataset"])
            self.monitor = check_settings(monitor, hints, "monitor.")
        if mitigation is not None:
            self.mitigation = _check_mitigation(mitigation, self.monitor is not None)


def _check_mitigation(block: dict[str, Any], monitored: bool) -> dict[str, Any]:
    name = block.get("controller")
    if not isinstance(name, str) or name not in CONTROLLERS:
        raise ValueError(f"mitigation.controller is {name!r}; set one of {', '.join(CONTROLLERS)}.")
    if CONTROLLERS[name].needs_reports and not monitored:
        raise ValueError(f"mitigation.controller is {name!r}, which acts on reports; set a monitor block too.")
    hints = arguments_of(CONTROLLERS[name].__init__)
    return check_settings(block, {"controller": str, **hints}, "mitigation.")


def build_trainer(
    script_args: TrainArguments, training_args: PassKGRPOConfig, model_args: ModelConfig
) -> PassKGRPOTrainer:
    """The trainer of a recipe, with its monitor and controller."""
    check_installed(training_args)
    check_hub(training_args)
    config = model_config(training_args, model_args)  # before the data, which may take long to load
    arguments = trainer_arguments(script_args, training_args)
    tokenizer_for(training_args, model_args, arguments["train_dataset"])
    monitor = next((callback for callback in arguments["callbacks"] if isinstance(callback, ConflictMonitor)), None)
    check_parameters(config, training_args, model_args, monitor)
    own = training_args.model_init_kwargs or {}
    training_args.model_init_kwargs = model_init_kwargs(training_args, model_args)
    try:
        return PassKGRPOTrainer(
            model=model_args.model_name_or_path,
            args=training_args,
            quantization_config=get_quantization_config(model_args),
            peft_config=get_peft_config(model_args),
            **arguments,
        )
    except TypeError as error:
        unknown = [name for name in own if f"unexpected keyword argument '{name}'" in str(error)]
        if not unknown:
            raise
        raise ValueError(
            f"model_init_kwargs has {unknown[0]!r}, which the model does not take: leave it out."
        ) from error


def trainer_arguments(script_args: TrainArguments, training_args: PassKGRPOConfig) -> dict[str, Any]:
    """
    The arguments of a recipe's trainer besides model and settings: data, reward functions, monitor and controller.

    Raises:
        `ValueError`: if a split or a column is missing, the monitor has no prompts or too few rollouts for the k of
        training, or an optimizer, its schedule or the metric of the best model does not exist.
    """
    check_training(training_args)
    splits = load_splits(script_args)
    used = {"train": ("dataset_train_split", script_args.dataset_train_split)}
    if training_args.eval_strategy != "no":
        used["eval"] = ("dataset_test_split", script_args.dataset_test_split)
    probes_batch = script_args.dataset_probe_split == PROBE_BATCH and PROBE_BATCH not in splits
    needs_probes = script_args.monitor is not None and not _rides(script_args)
    if needs_probes and script_args.hold_out_prompts is None and not probes_batch:
        default = "probe" if "probe" in splits else script_args.dataset_test_split
        used["probe"] = ("dataset_probe_split", script_args.dataset_probe_split or default)
    for setting, split in used.values():
        check_split(script_args, splits, split, setting)
    data = {use: with_columns(splits[split], script_args) for use, (_, split) in used.items()}
    if "probe" in data or script_args.hold_out_prompts is not None:
        data["train"], data["probe"] = _disjoint(data, script_args)
    reward_funcs = checked_rewards(script_args, data)
    check_rewards(training_args, reward_funcs)
    return {
        "train_dataset": data["train"],
        "eval_dataset": data.get("eval"),
        "reward_funcs": reward_funcs,
        "callbacks": [
            *_monitors(script_args, training_args, data.get("probe"), probes_batch),
            *_controllers(script_args, training_args),
        ],
    }


def _monitors(
    script_args: TrainArguments, training_args: PassKGRPOConfig, probe_dataset: Dataset | None, probes_batch: bool
) -> list[ConflictMonitor]:
    if not isinstance(script_args.monitor, dict):
        return []
    monitor = ConflictMonitor(probe_dataset, **script_args.monitor)
    if monitor.settings.ride:
        measured_ks(monitor.settings, training_args.pass_at_k, training_args.num_generations)  # raises what is wrong
    elif probes_batch:
        check_batch(training_args, monitor.num_prompts)
    elif monitor.num_rollouts <= training_args.pass_at_k:
        raise ValueError(
            f"monitor.num_rollouts={monitor.num_rollouts} measures k up to {monitor.num_rollouts - 1} only, not "
            f"pass_at_k={training_args.pass_at_k}; set it to {training_args.pass_at_k + 1} or more."
        )
    return [monitor]


def _rides(script_args: TrainArguments) -> bool:
    """Whether the monitor needs no prompts of its own."""
    return isinstance(script_args.monitor, dict) and bool(script_args.monitor.get("ride"))


def _controllers(script_args: TrainArguments, training_args: PassKGRPOConfig) -> list[Controller]:
    if not isinstance(script_args.mitigation, dict):
        return []
    arguments = {key: value for key, value in script_args.mitigation.items() if key != "controller"}
    controllers = [CONTROLLERS[script_args.mitigation["controller"]](**arguments)]
    check_controllable(training_args, controllers)
    return controllers


def _disjoint(data: dict[str, Dataset], script_args: TrainArguments) -> tuple[Dataset, Dataset]:
    """The prompts to train on and the prompts to probe. No text of a prompt is in both."""
    if script_args.hold_out_prompts is not None and script_args.dataset_probe_split is not None:
        raise ValueError("dataset_probe_split and hold_out_prompts both choose the prompts to probe; set one of them.")
    if isinstance(data["train"], IterableDataset):
        if script_args.hold_out_prompts is not None:
            raise ValueError("prompts cannot be held out of a stream: set dataset_streaming to False.")
        return data["train"], data["probe"]
    if script_args.hold_out_prompts is not None:
        return hold_out(data["train"], script_args.hold_out_prompts)  # the same for every seed of training
    trained_on = set(overlap(data["probe"], data["train"]))
    if not trained_on:
        return data["train"], data["probe"]
    if len(trained_on) == len(data["probe"]):
        raise ValueError("all prompts to probe are also trained on; set hold_out_prompts, or another split.")
    logger.warning("%d of %d prompts to probe are also trained on, and left out.", len(trained_on), len(data["probe"]))
    return data["train"], data["probe"].select([row for row in range(len(data["probe"])) if row not in trained_on])


def _dry_run(
    script_args: TrainArguments, training_args: PassKGRPOConfig, model_args: ModelConfig, processes: int
) -> str:
    model_config(training_args, model_args)
    arguments = trainer_arguments(script_args, training_args)
    monitor = next((callback for callback in arguments["callbacks"] if isinstance(callback, ConflictMonitor)), None)
    datasets = {
        "train on": arguments["train_dataset"],
        "evaluate on": arguments["eval_dataset"],
        "probe": monitor.probe_dataset if monitor else None,
    }
    return dry_run(training_args, model_args, arguments["reward_funcs"], datasets, monitor, processes=processes)


def _report(training_args: PassKGRPOConfig) -> None:
    """Writes the report of the run on the first process, and prints it."""
    report = on_first_rank(partial(write_report, training_args.output_dir))
    print_once(f"\n{report}\n", training_args)


def main(args: Sequence[str] | None = None) -> None:
    """Trains as the recipe says, saves the model and the trainer state, and prints the report of the run."""
    prog = "passk-trl train"
    with readable_errors(prog, args):
        script_args, training_args, model_args, processes = parse_recipe(
            (TrainArguments, PassKGRPOConfig, ModelConfig), prog, args, _DESCRIPTION
        )
        settings = run_settings(script_args, training_args, model_args) | {
            name: getattr(script_args, name) for name in ("mitigation", "datasets", "reasoning_gym", "beside")
        }
        checkpoint = checkpoint_to_resume(training_args)
        check_output_dir(training_args, settings, script_args.overwrite_output_dir, checkpoint)
        if processes is not None:
            print_once(_dry_run(script_args, training_args, model_args, processes), training_args)
            return
        if wants_newest(training_args) and has_ended(training_args):
            print_once(f"The run in {training_args.output_dir} has ended: nothing is left to train.\n", training_args)
            _report(training_args)
            return
        if checkpoint is not None:
            training_args.eval_on_start = False  # the start was evaluated when the run began
        trainer = build_trainer(script_args, training_args, model_args)
        on_first_rank(partial(set_aside, Path(training_args.output_dir), checkpoint))
        write_settings(training_args, settings)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    trainer.save_model(training_args.output_dir)
    trainer.save_state()
    trainer.create_model_card(Path(training_args.output_dir).name)
    with readable_errors(prog, args):
        _report(training_args)
    wait_for_all_processes()
    trainer.end()


if __name__ == "__main__":
    main()
