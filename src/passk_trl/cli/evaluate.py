"""`passk-trl evaluate`: samples one checkpoint, or two on the same prompts, as a recipe says, and reports pass@k."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from accelerate import PartialState
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from transformers import AutoConfig
from trl import ModelConfig

from passk_trl import PassKGRPOConfig
from passk_trl.distributed.ranks import on_first_rank
from passk_trl.evaluation import check_ks, evaluate_checkpoints, write_counts, write_evaluation
from passk_trl.rollouts.blocks import RolloutBlocks, digest
from passk_trl.rollouts.metrics import reported_ks

from . import asks_for_counts, evaluate_counts
from .checkpoint import leave_server, load_untrained, wait_for_all_processes
from .data import IMPORTS_RUN_CODE, DataArguments, checked_rewards, column_of, draw_prompts
from .dry_run import dry_run, model_config, print_once
from .recipe import parse_recipe, readable_errors


_PROG = "passk-trl evaluate"

_DESCRIPTION = f"""Evaluates a checkpoint, or two on the same prompts: pass@k and pass^k, with bands over all k.

  passk-trl evaluate --config recipes/quickstart/config_evaluate.yaml --dry-run
  passk-trl evaluate --config recipe.yaml --model_name_or_path outputs/pass8 --against outputs/pass1
  passk-trl evaluate --counts base.jsonl trained.jsonl     success counts from anywhere; see --counts --help

{IMPORTS_RUN_CODE}"""

# Settings of the rollouts that the report does not show.
_UNREPORTED_SETTINGS = {"model", "weights", "prompts", "block_size"}


@dataclass
class EvaluateArguments(DataArguments):
    """
    Arguments of `passk-trl evaluate` besides those of [`DataArguments`], [`PassKGRPOConfig`] and [`~trl.ModelConfig`].
    The prompts are those of `dataset_test_split`. Of [`PassKGRPOConfig`], only generation, precision, `seed`,
    `output_dir` and `per_device_train_batch_size`, the number of rollouts that are generated at a time, are used.

    Args:
        num_rollouts (`int`, *optional*, defaults to `32`):
            Rollouts of each prompt, at least 2.
        ks (`list[int]`, *optional*):
            The k in the tables, each at most `num_rollouts`. If not given, 1, 2, 4 … up to `num_rollouts`. Bands and
            verdict are of every k.
        difficulty_column (`str`, *optional*):
            Column by which the prompts are grouped. If `None`, they are grouped by how often the checkpoint solves
            them in the first half of the rollouts, and the groups are evaluated on the other half, for k up to its
            size.
        against (`str`, *optional*):
            Checkpoint to compare with `model_name_or_path`, on the same prompts.
        against_revision (`str`, *optional*, defaults to `"main"`):
            Revision of `against`. That of the other checkpoint is `model_revision`.
    """

    num_rollouts: int = field(default=32, metadata={"help": "Rollouts of each prompt, at least 2."})
    ks: list[int] = field(
        default_factory=list,
        metadata={
            "help": "The k in the tables, each at most `num_rollouts`. If not given, 1, 2, 4 … up to `num_rollouts`. "
            "Bands and verdict are of every k."
        },
    )
    difficulty_column: str | None = field(
        default=None,
        metadata={
            "help": "Column by which the prompts are grouped. If `None`, they are grouped by how often the checkpoint "
            "solves them in the first half of the rollouts, and the groups are evaluated on the other half, for k up "
            "to its size."
        },
    )
    against: str | None = field(
        default=None, metadata={"help": "Checkpoint to compare with `model_name_or_path`, on the same prompts."}
    )
    against_revision: str = field(
        default="main", metadata={"help": "Revision of `against`. That of the other checkpoint is `model_revision`."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_rollouts < 2:
            raise ValueError(f"num_rollouts={self.num_rollouts} is too few; set at least 2, better 32.")
        self.ks = sorted({*self.ks}) or reported_ks(self.num_rollouts)
        check_ks(self.ks, self.num_rollouts)


def checkpoints_of(
    script_args: EvaluateArguments, training_args: PassKGRPOConfig, model_args: ModelConfig
) -> list[tuple[str, ModelConfig]]:
    """The one or two checkpoints of a recipe, each with its name in the report."""
    chosen = [model_args]
    if script_args.against is not None:
        revision = script_args.against_revision
        # Looked up now, so that a wrong name is reported before the other checkpoint's rollouts are sampled.
        try:
            AutoConfig.from_pretrained(
                script_args.against, revision=revision, trust_remote_code=training_args.trust_remote_code
            )
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"against={script_args.against!r} cannot be loaded ({reason}); set a hub id or a checkpoint's path."
            ) from error
        chosen.append(replace(model_args, model_name_or_path=script_args.against, model_revision=revision))
    revisions = ["" if args.model_revision == "main" else f"@{args.model_revision}" for args in chosen]
    return [(f"{args.model_name_or_path}{revision}", args) for args, revision in zip(chosen, revisions, strict=True)]


def rollouts_of(
    name: str,
    model_args: ModelConfig,
    script_args: EvaluateArguments,
    training_args: PassKGRPOConfig,
    dataset: Dataset,
) -> RolloutBlocks:
    """The rollouts of a checkpoint, stored in a folder of its own."""
    folder = re.sub(r"[^\w.-]", "-", Path(name).name) + "-" + digest(name.encode())[:6]
    return RolloutBlocks(
        load_untrained(script_args.reward_funcs, training_args, model_args, dataset),
        dataset,
        Path(training_args.output_dir) / folder,
        script_args.num_rollouts,
        script_args.block_size,
        training_args.success_threshold,
        training_args.seed,
        {"model": name, "dataset": script_args.dataset_name, "split": script_args.dataset_test_split},
    )


def _dry_run(
    script_args: EvaluateArguments,
    training_args: PassKGRPOConfig,
    model_args: ModelConfig,
    dataset: Dataset,
    processes: int,
) -> str:
    rewards = checked_rewards(script_args, {"evaluate": dataset})
    return dry_run(training_args, model_args, rewards, {"evaluate": dataset}, None, trains=False, processes=processes)


def main(args: Sequence[str] | None = None) -> None:
    """Evaluates as the recipe says, or continues an evaluation that was interrupted, and writes the report."""
    given = sys.argv[1:] if args is None else args
    if asks_for_counts(given):
        evaluate_counts.main(given)
        return
    with readable_errors(_PROG, args):
        script_args, training_args, model_args, processes = parse_recipe(
            (EvaluateArguments, PassKGRPOConfig, ModelConfig), _PROG, args, _DESCRIPTION
        )
        model_config(training_args, model_args)  # before the data, which may take long to load
        dataset, rows = draw_prompts(script_args, training_args.seed)
        column = script_args.difficulty_column
        labels = None if column is None else column_of(dataset, "difficulty_column", column)
        checkpoints = checkpoints_of(script_args, training_args, model_args)
        if processes is not None:
            for _, checkpoint in checkpoints:
                print_once(_dry_run(script_args, training_args, checkpoint, dataset, processes), training_args)
            return
    successes = []
    for name, checkpoint in checkpoints:
        with readable_errors(_PROG, args):
            rollouts = rollouts_of(name, checkpoint, script_args, training_args, dataset)
        rollouts.sample()
        success, settings = on_first_rank(rollouts.success), rollouts.settings
        counts = {rows[prompt]: each for prompt, each in success.items()}
        with readable_errors(_PROG, args):
            on_first_rank(partial(write_counts, rollouts.directory / "counts.jsonl", counts))
        leave_server(rollouts.trainer)
        del rollouts
        successes.append(success)
        clear_device_cache(garbage_collection=True)  # makes room for the next checkpoint

    def write_report() -> str:
        report = evaluate_checkpoints(
            [name for name, _ in checkpoints],
            successes,
            rows,
            script_args.ks,
            script_args.confidence,
            {name: value for name, value in settings.items() if name not in _UNREPORTED_SETTINGS},
            column,
            labels,
        )
        return write_evaluation(training_args.output_dir, report)

    with readable_errors(_PROG, args):
        report = on_first_rank(write_report)
    if PartialState().is_main_process:
        print(f"\n{report}")
    wait_for_all_processes()
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
