"""`passk-trl probe`: audits a checkpoint before training, as a recipe says."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from datasets import DatasetDict
from trl import ModelConfig

from passk_trl import PassKGRPOConfig
from passk_trl.audit import Audit, AuditMeasurement, diagnose, write_audit
from passk_trl.distributed.ranks import on_first_rank
from passk_trl.rollouts.checks import truncated_sampling, warn_if_truncated
from passk_trl.rollouts.prompt_text import text_of

from .checkpoint import load_untrained, wait_for_all_processes
from .data import IMPORTS_RUN_CODE, DataArguments, checked_rewards, draw_prompts
from .dry_run import dry_run, model_config, print_once
from .recipe import parse_recipe, readable_errors


_DESCRIPTION = f"""Audits a checkpoint before training: would pass@k training lower its pass@1, and from which k on?

  passk-trl probe --config recipes/quickstart/config_probe.yaml --dry-run
  accelerate launch --num_processes 8 -m passk_trl.cli.probe --config recipe.yaml --num_prompts 2000

{IMPORTS_RUN_CODE}"""

# Settings of an audit that its report shows.
_REPORTED_SETTINGS = ("model", "dataset", "reward_funcs", "temperature", "top_p", "max_completion_length", "seed")


@dataclass
class ProbeArguments(DataArguments):
    """
    Arguments of `passk-trl probe` besides those of [`DataArguments`], [`PassKGRPOConfig`] and [`~trl.ModelConfig`]. Of
    [`PassKGRPOConfig`], only generation, precision, `seed`, `output_dir` and `per_device_train_batch_size`, the number
    of rollouts that are generated at a time, are used.

    Args:
        dataset_probe_split (`str`, *optional*):
            Split from which the prompts are drawn. If `None`, the split `probe` if there is one, else the test split.
        num_prompts (`int`, *optional*, defaults to `256`):
            Number of prompts to draw, at least 8. The more prompts, the narrower the intervals.
        num_rollouts (`int`, *optional*, defaults to `32`):
            Rollouts of each prompt, at least 3. The conflict is measured at every k below this number.
        k (`int`, *optional*):
            The k at which weights, shift and the most negatively interfering prompts are shown. Half of `num_rollouts`
            if `None`.
        parameters (`str`, *optional*, defaults to `"all"`):
            Parameters whose gradients are taken: `all`, `final_norm` (the paper's final hidden layer), `final_layer`,
            or a regular expression that is searched in the names of modules and parameters.
        gram (`str`, *optional*, defaults to `"auto"`):
            How gradients are stored: `exact`, `sketch`, or `auto`, which is `exact` if that takes at most 1 GiB.
        num_shown (`int`, *optional*, defaults to `10`):
            Number of the most negatively interfering prompts to show.
    """

    dataset_probe_split: str | None = field(
        default=None,
        metadata={
            "help": "Split from which the prompts are drawn. If `None`, the split `probe` if there is one, else the "
            "test split."
        },
    )
    num_prompts: int = field(
        default=256,
        metadata={"help": "Number of prompts to draw, at least 8. The more prompts, the narrower the intervals."},
    )
    num_rollouts: int = field(
        default=32,
        metadata={
            "help": "Rollouts of each prompt, at least 3. The conflict is measured at every k below this number."
        },
    )
    k: int | None = field(
        default=None,
        metadata={
            "help": "The k at which weights, shift and the most negatively interfering prompts are shown. Half of "
            "`num_rollouts` if `None`."
        },
    )
    parameters: str = field(
        default="all",
        metadata={
            "help": "Parameters whose gradients are taken: 'all', 'final_norm' (the paper's final hidden layer), "
            "'final_layer', or a regular expression that is searched in the names of modules and parameters."
        },
    )
    gram: str = field(
        default="auto",
        metadata={
            "help": "How gradients are stored: 'exact', 'sketch', or 'auto', which is 'exact' if that takes at most 1 "
            "GiB."
        },
    )
    num_shown: int = field(default=10, metadata={"help": "Number of the most negatively interfering prompts to show."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_rollouts < 3:
            raise ValueError(f"num_rollouts={self.num_rollouts} measures no k above 1; set at least 3, better 32.")
        if self.k is None:
            self.k = self.num_rollouts // 2
        if not 1 <= self.k < self.num_rollouts:
            raise ValueError(
                f"k={self.k} cannot be measured with num_rollouts={self.num_rollouts}; set k from 1 to "
                f"{self.num_rollouts - 1}, or raise num_rollouts."
            )

    def split_of(self, splits: DatasetDict) -> tuple[str, str]:
        probe_split = "probe" if "probe" in splits else self.dataset_test_split
        return self.dataset_probe_split or probe_split, "dataset_probe_split"


def build_audit(
    script_args: ProbeArguments, training_args: PassKGRPOConfig, model_args: ModelConfig
) -> tuple[Audit, list[int]]:
    """The audit of a recipe, and the rows of its prompts in their split."""
    model_config(training_args, model_args)  # before the data, which may take long to load
    dataset, rows = draw_prompts(script_args, training_args.seed)
    trainer = load_untrained(script_args.reward_funcs, training_args, model_args, dataset)
    audit = Audit(
        trainer,
        dataset,
        training_args.output_dir,
        num_rollouts=script_args.num_rollouts,
        parameters=script_args.parameters,
        gram=script_args.gram,
        block_size=script_args.block_size,
        success_threshold=training_args.success_threshold,
        seed=training_args.seed,
        settings={"model": model_args.model_name_or_path, "dataset": script_args.dataset_name},
    )
    return audit, rows


def _dry_run(
    script_args: ProbeArguments, training_args: PassKGRPOConfig, model_args: ModelConfig, processes: int
) -> str:
    model_config(training_args, model_args)
    dataset, _ = draw_prompts(script_args, training_args.seed)
    rewards = checked_rewards(script_args, {"probe": dataset})
    return dry_run(
        training_args, model_args, rewards, {"probe": dataset}, script_args, trains=False, processes=processes
    )


def _write_report(
    script_args: ProbeArguments, audit: Audit, measurement: AuditMeasurement | None, rows: list[int]
) -> str:
    """On the first process, which has the measurement."""
    assert measurement is not None
    assert script_args.k is not None
    report = diagnose(
        measurement,
        {"parameters": audit.parameters, **{name: audit.rollouts.settings[name] for name in _REPORTED_SETTINGS}},
        [text_of(prompt) for prompt in audit.dataset["prompt"]],
        rows,
        truncated_sampling(audit.trainer),
        script_args.k,
        script_args.confidence,
    )
    return write_audit(audit.directory, report, script_args.num_shown)


def main(args: Sequence[str] | None = None) -> None:
    """Audits as the recipe says, or continues an audit that was interrupted, and writes the report."""
    prog = "passk-trl probe"
    with readable_errors(prog, args):
        script_args, training_args, model_args, processes = parse_recipe(
            (ProbeArguments, PassKGRPOConfig, ModelConfig), prog, args, _DESCRIPTION
        )
        if processes is not None:
            print_once(_dry_run(script_args, training_args, model_args, processes), training_args)
            return
        audit, rows = build_audit(script_args, training_args, model_args)
    warn_if_truncated(audit.trainer)
    measurement = audit.run()
    with readable_errors(prog, args):
        said = on_first_rank(partial(_write_report, script_args, audit, measurement, rows))
    if measurement is not None:
        print(f"\n{said}")
    wait_for_all_processes()
    audit.trainer.end()


if __name__ == "__main__":
    main()
