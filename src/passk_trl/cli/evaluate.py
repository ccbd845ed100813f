"""`passk-trl evaluate --config recipe.yaml`; or `accelerate launch -m passk_trl.cli.evaluate --config …`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from transformers import AutoConfig
from trl import ModelConfig

from passk_trl import PassKGRPOConfig
from passk_trl.distributed.ranks import on_first_rank
from passk_trl.evaluation import check_ks, evaluate, split_by_success
from passk_trl.evaluation.report import Evaluated, write_evaluation
from passk_trl.rollouts.blocks import RolloutBlocks, digest
from passk_trl.rollouts.metrics import reported_ks

from .checkpoint import leave_server, load_untrained
from .data import DataArguments, checked_rewards, column_of, draw_prompts
from .dry_run import dry_run, model_config
from .recipe import parse_recipe, readable_errors


_PROG = "passk-trl evaluate"

_DESCRIPTION = """Evaluates a checkpoint, or two on the same prompts: unbiased pass@k with intervals over the prompts.

  passk-trl evaluate --config recipes/quickstart/config_evaluate.yaml --dry-run
  passk-trl evaluate --config recipe.yaml --model_name_or_path outputs/pass8 --against outputs/pass1

reward_funcs and dataset_name may be import paths, which run the code they name."""

# Settings of the rollouts that a report leaves out.
_UNTOLD = {"model", "weights", "prompts", "block_size"}

# Success of each prompt's rollouts, `None` if one could not be scored.
Successes = dict[int, list[int] | None]


@dataclass
class EvaluateArguments(DataArguments):
    """
    Arguments of `passk-trl evaluate` besides those of [`DataArguments`], of [`PassKGRPOConfig`], of which generation,
    precision, `seed` and `output_dir` matter, and of [`~trl.ModelConfig`]. The prompts are those of
    `dataset_test_split`. `per_device_train_batch_size` is the number of rollouts that are generated at a time.

    Args:
        num_rollouts (`int`, *optional*, defaults to `32`):
            Rollouts of each prompt, at least 2.
        ks (`list[int]`, *optional*):
            The k of pass@k, each at most `num_rollouts`. 1, 2, 4 … up to `num_rollouts` if there is none.
        difficulty_column (`str`, *optional*):
            Column that groups the prompts. If `None`, they are grouped by how often the checkpoint solves them in the
            first half of the rollouts, and the other half evaluates the groups, for k up to its size.
        against (`str`, *optional*):
            Checkpoint to set beside `model_name_or_path`, on the same prompts.
        against_revision (`str`, *optional*, defaults to `"main"`):
            Its revision; that of the other is `model_revision`.
    """

    num_rollouts: int = field(default=32, metadata={"help": "Rollouts of each prompt, at least 2."})
    ks: list[int] = field(
        default_factory=list,
        metadata={
            "help": "The k of pass@k, each at most `num_rollouts`. 1, 2, 4 … up to `num_rollouts` if there is none."
        },
    )
    difficulty_column: str | None = field(
        default=None,
        metadata={
            "help": "Column that groups the prompts. If `None`, they are grouped by how often the checkpoint solves "
            "them in the first half of the rollouts, and the other half evaluates the groups, for k up to its size."
        },
    )
    against: str | None = field(
        default=None, metadata={"help": "Checkpoint to set beside `model_name_or_path`, on the same prompts."}
    )
    against_revision: str = field(
        default="main", metadata={"help": "Its revision; that of the other is `model_revision`."}
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
    """The one or two checkpoints of a recipe, each with the name it has in the report."""
    chosen = [model_args]
    if script_args.against is not None:
        revision = script_args.against_revision
        # Looked up here, so that a wrong name is told before the other checkpoint's rollouts are paid for.
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
    """A checkpoint's rollouts, which are kept in a folder of its own."""
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


def evaluate_rollouts(
    script_args: EvaluateArguments,
    models: list[str],
    successes: list[Successes],
    about: dict[str, Any],
    labels: list | None,
    rows: list[int],
) -> Evaluated:
    """
    The evaluation of what was sampled.

    Args:
        script_args ([`EvaluateArguments`]): the ks, the level of the intervals, the column of difficulty.
        models (`list[str]`): names of the checkpoints.
        successes (`list[Successes]`): how each one's rollouts fared.
        about (`dict`): told in the report.
        labels (`list`, *optional*): difficulty of each prompt.
        rows (`list[int]`): row of each prompt in its split.

    Raises:
        `ValueError`: if no prompt's rollouts could all be scored.
    """
    scored = [i for i in range(len(rows)) if all(success[i] is not None for success in successes)]
    success_MNG = torch.tensor([[success[i] for i in scored] for success in successes])
    success_MNG = success_MNG.view(len(models), len(scored), script_args.num_rollouts)
    overall = evaluate(list(success_MNG), script_args.ks, script_args.confidence)
    if labels is None:
        difficulty = f"how often `{models[0]}` solves them in other rollouts"
        groups, measuring = split_by_success(success_MNG[0])
    else:
        difficulty = f"`{script_args.difficulty_column}`"
        groups, measuring = group_by([labels[i] for i in scored]), slice(None)
    measuring_MNG = success_MNG[:, :, measuring]
    ks = [k for k in script_args.ks if k <= measuring_MNG.size(2)]
    by_difficulty = {
        name: evaluate(list(measuring_MNG[:, members]), ks, script_args.confidence) for name, members in groups.items()
    }
    group_of = {i: name for name, members in groups.items() for i in members}
    num_correct_NM = success_MNG.sum(dim=2).T.tolist()
    return Evaluated(
        models,
        {**about, "confidence": script_args.confidence},
        overall,
        difficulty,
        by_difficulty if ks else {},
        [
            {"row": rows[prompt], "difficulty": group_of[i], "num_correct": num_correct_NM[i]}
            for i, prompt in enumerate(scored)
        ],
        [rows[i] for i in sorted({*range(len(rows))} - {*scored})],
    )


def group_by(labels: list) -> dict[str, list[int]]:
    """Where each label stands, in their order; numbers come before text."""
    groups: dict[str, list[int]] = {}
    for i in sorted(range(len(labels)), key=lambda i: (type(labels[i]).__name__, labels[i], i)):
        groups.setdefault(str(labels[i]), []).append(i)
    return groups


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
    """Evaluates as the recipe says, or goes on with an evaluation that was killed, and writes its report."""
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
                told = _dry_run(script_args, training_args, checkpoint, dataset, processes)
                print(told if training_args.process_index == 0 else "", end="")
            return
    successes = []
    for name, checkpoint in checkpoints:
        with readable_errors(_PROG, args):
            rollouts = rollouts_of(name, checkpoint, script_args, training_args, dataset)
        rollouts.sample()
        success, settings = on_first_rank(rollouts.success), rollouts.settings
        leave_server(rollouts.trainer)
        del rollouts
        successes.append(success)
        clear_device_cache(garbage_collection=True)  # room for the next checkpoint
    if PartialState().is_main_process:
        with readable_errors(_PROG, args):
            about = {name: value for name, value in settings.items() if name not in _UNTOLD}
            models = [name for name, _ in checkpoints]
            evaluated = evaluate_rollouts(script_args, models, successes, about, labels, rows)
        print("\n" + write_evaluation(training_args.output_dir, evaluated))
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
