"""Prompts, from any dataset, and their verifiers."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from trl import ScriptArguments

from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.rewards import load_rewards
from passk_trl.rollouts.checks import check_reward_columns


@dataclass
class PromptArguments(ScriptArguments):
    """
    What a prompt is made of, and what verifies its completions.

    Args:
        reward_funcs (`list[str]`, *optional*, defaults to `["accuracy_reward"]`):
            Verifiers: `accuracy_reward`, `exact_match_reward`, those of `trl grpo`, or any dotted import path.
        prompt_column (`str`, *optional*, defaults to `"prompt"`):
            Column of the prompts, plain or conversational.
        answer_column (`str`, *optional*):
            Column of the gold answers, which verifiers then read as `solution`. If `None`, columns stay as they are.
        answer_after (`str`, *optional*):
            What stands right before the answer in the `answer_column`, such as `"####"` in GSM8K; all up to its last
            occurrence is cut off.
        instruction (`str`, *optional*):
            Text put after every plain prompt, on a line of its own.
        system_prompt (`str`, *optional*):
            System message put before every conversation.
        chat (`bool`, *optional*, defaults to `True`):
            Whether plain prompts become a user's message, in the policy's chat template. Set to `False` for a base
            model.
    """

    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy_reward"],
        metadata={
            "help": "Verifiers: `accuracy_reward`, `exact_match_reward`, those of `trl grpo`, or any dotted import "
            "path (e.g., `'my_lib.rewards.custom_reward'`)."
        },
    )
    prompt_column: str = field(default="prompt", metadata={"help": "Column of the prompts, plain or conversational."})
    answer_column: str | None = field(
        default=None,
        metadata={
            "help": "Column of the gold answers, which verifiers then read as `solution`. If `None`, columns stay as "
            "they are."
        },
    )
    answer_after: str | None = field(
        default=None,
        metadata={
            "help": "What stands right before the answer in the `answer_column`, such as '####' in GSM8K; all up to "
            "its last occurrence is cut off."
        },
    )
    instruction: str | None = field(
        default=None, metadata={"help": "Text put after every plain prompt, on a line of its own."}
    )
    system_prompt: str | None = field(default=None, metadata={"help": "System message put before every conversation."})
    chat: bool = field(
        default=True,
        metadata={
            "help": "Whether plain prompts become a user's message, in the policy's chat template. Set to `False` for "
            "a base model."
        },
    )


@dataclass
class DataArguments(PromptArguments):
    """
    Prompts of a checkpoint that is measured and not trained, besides what [`PromptArguments`] makes of them.

    Args:
        num_prompts (`int`, *optional*):
            Prompts drawn, at least 8. They carry the error bars. All rows of the split, in their order, if `None`.
        block_size (`int`, *optional*, defaults to `32`):
            Prompts between two saves.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the confidence intervals.
    """

    num_prompts: int | None = field(
        default=None,
        metadata={
            "help": "Prompts drawn, at least 8. They carry the error bars. All rows of the split, in their order, if "
            "`None`."
        },
    )
    block_size: int = field(default=32, metadata={"help": "Prompts between two saves."})
    confidence: float = field(default=0.95, metadata={"help": "Level of the confidence intervals."})

    def __post_init__(self) -> None:
        if self.num_prompts is not None and self.num_prompts < FEWEST_PROMPTS:
            raise ValueError(
                f"num_prompts={self.num_prompts} is too few for an error bar; set at least {FEWEST_PROMPTS}, better "
                "256."
            )
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence={self.confidence} is no level; set a number between 0 and 1, such as 0.95.")
        if self.dataset_streaming:
            raise ValueError("dataset_streaming=True leaves no rows to draw from; set it to False.")

    def split_of(self, splits: DatasetDict) -> tuple[str, str]:
        """The split that prompts are drawn from, and the argument that sets it."""
        return self.dataset_test_split, "dataset_test_split"


def load_splits(script_args: ScriptArguments) -> DatasetDict:
    """The dataset's splits: from the hub or a local path, or from a function named by its dotted import path."""
    name = script_args.dataset_name
    if name is None:
        raise ValueError("dataset_name is not set; set a hub id, a local path or an import path of a function.")
    module, _, function = name.rpartition(".")
    try:
        if module and "/" not in name and not Path(name).exists():
            sys.path.insert(0, str(Path.cwd()))  # as TRL does for reward functions
            return getattr(importlib.import_module(module), function)()
        return load_dataset(name, name=script_args.dataset_config, streaming=script_args.dataset_streaming)
    except (ImportError, AttributeError, OSError, ValueError) as error:
        raise ValueError(f"dataset_name={name!r} cannot be loaded: {error}") from error


def draw_prompts(script_args: DataArguments, seed: int) -> tuple[Dataset, list[int]]:
    """
    The prompts to measure, with the columns `prompt` and `solution`, and which rows of their split they are.

    Raises:
        `ValueError`: if a split or a column is missing, or the split has too few rows.
    """
    splits = load_splits(script_args)
    split, setting = script_args.split_of(splits)
    if split not in splits:
        raise ValueError(
            f"dataset_name={script_args.dataset_name!r} has no split '{split}', only {', '.join(splits)}; set "
            f"{setting}."
        )
    dataset = splits[split]
    rows = list(range(len(dataset)))
    if script_args.num_prompts is not None:
        if len(dataset) < script_args.num_prompts:
            raise ValueError(
                f"the split '{split}' has {len(dataset)} rows, fewer than num_prompts={script_args.num_prompts}; "
                f"lower num_prompts or set another {setting}."
            )
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(dataset), generator=generator)[: script_args.num_prompts].tolist()
        dataset = dataset.select(rows)
    return with_columns(dataset, script_args), rows


def with_columns(dataset: Dataset | IterableDataset, script_args: PromptArguments) -> Dataset | IterableDataset:
    """
    The dataset with the columns `prompt` and `solution`, as the arguments say where they come from.

    Raises:
        `ValueError`: if a column is missing, or a stream's are to be changed.
    """
    if isinstance(dataset, IterableDataset):
        changed = [script_args.answer_column, script_args.instruction, script_args.system_prompt]
        if script_args.prompt_column != "prompt" or any(changed):
            raise ValueError("dataset_streaming=True leaves no columns to rename or change; set it to False.")
        return dataset
    before = column_of(dataset, "prompt_column", script_args.prompt_column)
    columns = {"prompt": [_prompt(value, script_args) for value in before]}
    if script_args.answer_column is not None:
        answers = column_of(dataset, "answer_column", script_args.answer_column)
        if (mark := script_args.answer_after) is not None:
            answers = [answer.rpartition(mark)[2].strip() for answer in answers]
        columns["solution"] = answers
    if columns == {"prompt": before}:
        return dataset
    kept = [name for name in dataset.column_names if name not in columns]
    return Dataset.from_dict({**{name: dataset[name][:] for name in kept}, **columns})


def checked_rewards(script_args: PromptArguments, data: dict[str, Dataset]) -> list[Callable]:
    """
    The reward functions, whose columns each dataset has. `data` is by what the prompts are for.

    Raises:
        `ValueError`: if a reward function cannot be loaded or lacks a column.
    """
    rewards = load_rewards(script_args.reward_funcs)
    named = {getattr(each, "__name__", repr(each)): each for each in rewards}
    for use, dataset in data.items():
        if dataset.column_names:  # a stream may not know them
            check_reward_columns(named, dataset, f"{use} prompts")
    return rewards


def column_of(dataset: Dataset, setting: str, name: str) -> list:
    """A column's values; `ValueError` naming the argument that chose it if there is none."""
    if name not in dataset.column_names:
        raise ValueError(f"the dataset has no column '{name}', only {dataset.column_names}; set {setting}.")
    return dataset[name][:]


def _prompt(value: Any, script_args: PromptArguments) -> Any:
    if isinstance(value, str):
        value = value if script_args.instruction is None else f"{value}\n{script_args.instruction}"
        if not script_args.chat:
            return value
        value = [{"role": "user", "content": value}]
    if script_args.system_prompt is None:
        return value
    return [{"role": "system", "content": script_args.system_prompt}, *value]
