"""`passk-trl train --config recipe.yaml`; under a launcher `accelerate launch -m passk_trl.cli.train --config …`."""

import difflib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trl import ModelConfig, ScriptArguments, TrlParser, get_peft_config, get_quantization_config

from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.report import write_report
from passk_trl.rewards import load_rewards

from . import mistakes_named
from .checkpoint import model_init_kwargs
from .data import load_splits


@dataclass
class TrainArguments(ScriptArguments):
    """
    Arguments of `passk-trl train` besides those of [`PassKGRPOConfig`] and [`~trl.ModelConfig`].

    Args:
        reward_funcs (`list[str]`, *optional*, defaults to `["accuracy_reward"]`):
            Reward functions: `accuracy_reward`, `exact_match_reward`, those of `trl grpo`, or any dotted import path.
        dataset_probe_split (`str`, *optional*):
            Split whose prompts the monitor probes. If `None`, the split `probe` where there is one, else the test
            split.
        monitor (`dict`, *optional*):
            Arguments of the [`ConflictMonitor`], such as `{every: 20, num_rollouts: 16}`. No monitor if `None`.
        beside (`list[str]`, *optional*):
            Output directories of other runs to set beside this one in its closing report.
    """

    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy_reward"],
        metadata={
            "help": "Reward functions: `accuracy_reward`, `exact_match_reward`, those of `trl grpo`, or any dotted "
            "import path (e.g., `'my_lib.rewards.custom_reward'`)."
        },
    )
    dataset_probe_split: str | None = field(
        default=None,
        metadata={
            "help": "Split whose prompts the monitor probes. If `None`, the split `probe` where there is one, else "
            "the test split."
        },
    )
    monitor: dict | str | None = field(
        default=None,
        metadata={
            "help": "Arguments of the ConflictMonitor, such as {every: 20, num_rollouts: 16} (JSON on the command "
            "line). No monitor if `None`."
        },
    )
    beside: list[str] | None = field(
        default=None,
        metadata={"help": "Output directories of other runs to set beside this one in its closing report."},
    )

    def __post_init__(self) -> None:
        if isinstance(self.monitor, str):
            self.monitor = json.loads(self.monitor)
        known = [name for name in inspect.signature(ConflictMonitor).parameters if name != "probe_dataset"]
        for key in self.monitor or {}:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                meant = f"did you mean '{close[0]}'?" if close else f"set one of {', '.join(known)}."
                raise ValueError(f"monitor has an unknown key '{key}'; {meant}")


def build_trainer(
    script_args: TrainArguments, training_args: PassKGRPOConfig, model_args: ModelConfig
) -> PassKGRPOTrainer:
    """The trainer of a recipe, with its monitor."""
    splits = load_splits(script_args)
    for wanted in (script_args.dataset_train_split, script_args.dataset_test_split):
        if wanted not in splits:
            raise ValueError(
                f"dataset_name={script_args.dataset_name!r} has no split '{wanted}', only {', '.join(splits)}; set "
                "dataset_train_split and dataset_test_split."
            )
    probe_split = script_args.dataset_probe_split or ("probe" if "probe" in splits else script_args.dataset_test_split)
    callbacks = []
    if isinstance(script_args.monitor, dict):
        callbacks.append(ConflictMonitor(splits[probe_split], **script_args.monitor))
    training_args.model_init_kwargs = model_init_kwargs(training_args, model_args)
    return PassKGRPOTrainer(
        model=model_args.model_name_or_path,
        reward_funcs=load_rewards(script_args.reward_funcs),
        args=training_args,
        train_dataset=splits[script_args.dataset_train_split],
        eval_dataset=splits[script_args.dataset_test_split] if training_args.eval_strategy != "no" else None,
        quantization_config=get_quantization_config(model_args),
        peft_config=get_peft_config(model_args),
        callbacks=callbacks,
    )


def main(args: Sequence[str] | None = None) -> None:
    """Trains as the recipe says, saves model and state, and prints the run's report."""
    parser = TrlParser((TrainArguments, PassKGRPOConfig, ModelConfig), prog="passk-trl train")
    with mistakes_named("train"):
        script_args, training_args, model_args = parser.parse_args_and_config(args)
        trainer = build_trainer(script_args, training_args, model_args)
    if trainer.accelerator.is_main_process:
        Path(training_args.output_dir).mkdir(parents=True, exist_ok=True)
        Path(training_args.output_dir, "training_args.json").write_text(training_args.to_json_string())
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model(training_args.output_dir)
    trainer.save_state()
    if trainer.accelerator.is_main_process:
        print("\n" + write_report(training_args.output_dir, script_args.beside or ()))
    trainer.end()


if __name__ == "__main__":
    main()
