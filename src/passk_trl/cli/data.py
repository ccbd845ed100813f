"""The prompts of a recipe, from any dataset, and their verifiers."""

import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import torch
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from trl import DatasetMixtureConfig, ScriptArguments, get_dataset
from trl.scripts.utils import DatasetConfig

from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.rewards import load_rewards
from passk_trl.rewards.golds import check_golds
from passk_trl.rollouts.checks import check_reward_columns
from passk_trl.tasks import reasoning_gym_splits
from passk_trl.working_dir import importable_working_dir

from .settings import arguments_of, block_of, check_settings, suggestion


_REASONING_GYM = "reasoning_gym"

IMPORTS_RUN_CODE = "reward_funcs and dataset_name may be import paths. The code that they name is run."
"""A warning in the `--help` of each command that reads a recipe."""


@dataclass
class PromptArguments(ScriptArguments):
    """
    How prompts are built from a dataset, and how their completions are verified.

    Args:
        datasets (`list[dict]`, *optional*):
            A mixture instead of the one dataset of `dataset_name`, as for `trl grpo`: the arguments of each
            [`~trl.scripts.utils.DatasetConfig`], such as `{path: openai/gsm8k, name: main, fraction: 0.5}`.
        test_split_size (`float`, *optional*):
            Share or number of the prompts of the mixture that are its test split.
        reward_funcs (`list[str]`, *optional*, defaults to `["accuracy_reward"]`):
            Verifiers: those of [`passk_trl.rewards`], such as `accuracy_reward`, those of `trl grpo`, or any dotted
            import path.
        prompt_column (`str`, *optional*, defaults to `"prompt"`):
            Column of the prompts, plain or conversational.
        answer_column (`str`, *optional*):
            Column of the gold answers. Verifiers read it as `solution`. If `None`, columns stay as they are.
        answer_after (`str`, *optional*):
            Text right before the answer in the `answer_column`, such as `"####"` in GSM8K. Everything up to its last
            occurrence is removed.
        instruction (`str`, *optional*):
            Text after every plain prompt, on a line of its own.
        system_prompt (`str`, *optional*):
            System message before every conversation.
        chat (`bool`, *optional*, defaults to `True`):
            Whether a plain prompt becomes the message of a user, in the policy's chat template. Set to `False` for a
            base model.
        reasoning_gym (`dict`, *optional*):
            Arguments of [`~passk_trl.tasks.reasoning_gym_splits`], such as `{settings: {max_terms: 3}, train: 500}`.
            For a `dataset_name` such as `reasoning_gym:chain_sum` only.
    """

    datasets: list[dict] | None = field(
        default=None,
        metadata={
            "help": "A mixture instead of the one dataset of `dataset_name`, as for `trl grpo`: a list of {path: ..., "
            "name: ..., split: ..., columns: ..., fraction: ...}. In YAML only."
        },
    )
    test_split_size: float | None = field(
        default=None, metadata={"help": "Share or number of the prompts of the mixture that are its test split."}
    )
    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy_reward"],
        metadata={
            "help": "Verifiers: those of `passk_trl.rewards`, such as `accuracy_reward`, those of `trl grpo`, or any "
            "dotted import path (e.g., `'my_lib.rewards.custom_reward'`)."
        },
    )
    prompt_column: str = field(default="prompt", metadata={"help": "Column of the prompts, plain or conversational."})
    answer_column: str | None = field(
        default=None,
        metadata={
            "help": "Column of the gold answers. Verifiers read it as `solution`. If `None`, columns stay as they are."
        },
    )
    answer_after: str | None = field(
        default=None,
        metadata={
            "help": "Text right before the answer in the `answer_column`, such as '####' in GSM8K. Everything up to "
            "its last occurrence is removed."
        },
    )
    instruction: str | None = field(
        default=None, metadata={"help": "Text after every plain prompt, on a line of its own."}
    )
    system_prompt: str | None = field(default=None, metadata={"help": "System message before every conversation."})
    chat: bool = field(
        default=True,
        metadata={
            "help": "Whether a plain prompt becomes the message of a user, in the policy's chat template. Set to "
            "`False` for a base model."
        },
    )
    reasoning_gym: dict | str | None = field(
        default=None,
        metadata={
            "help": "Settings of the task and sizes of the splits, such as {settings: {max_terms: 3}, train: 500} "
            "(JSON on the command line), or a mixture of tasks. For a `dataset_name` such as "
            "'reasoning_gym:chain_sum' only."
        },
    )

    def __post_init__(self) -> None:
        if self.answer_after is not None and self.answer_column is None:
            raise ValueError(f"answer_after is {self.answer_after!r}, but answer_column is not set: set it, too.")
        if self.system_prompt is not None and not self.chat:
            raise ValueError("system_prompt is set, but chat is False: set instruction instead, or chat to True.")
        if self.datasets is not None:
            self._check_mixture()
        block = block_of("reasoning_gym", self.reasoning_gym)
        if block is None:
            return
        if (self.dataset_name or "").partition(":")[0] != _REASONING_GYM:
            raise ValueError(
                f"reasoning_gym is set, but dataset_name is {self.dataset_name!r}: set it to reasoning_gym:task, or "
                "to reasoning_gym for a mixture."
            )
        hints = arguments_of(reasoning_gym_splits, exclude=["tasks", "chat"])
        block = json.loads(json.dumps(block, default=str))  # YAML has dates
        self.reasoning_gym = check_settings(block, hints, "reasoning_gym.")

    def _check_mixture(self) -> None:
        if self.dataset_name is not None:
            raise ValueError(f"dataset_name is {self.dataset_name!r}, but datasets is set, too: set one of the two.")
        hints = get_type_hints(DatasetConfig)
        for each in self.datasets or ():
            check_settings(each, hints, "datasets.")
            if "path" not in each:
                raise ValueError(f"datasets has {each}, which has no path: set one, such as a hub id.")


@dataclass
class DataArguments(PromptArguments):
    """
    Which prompts are drawn for a checkpoint that is measured and not trained, besides [`PromptArguments`].

    Args:
        num_prompts (`int`, *optional*):
            Number of prompts to draw, at least 8. The more prompts, the narrower the intervals. If `None`, all rows of
            the split, in their order.
        block_size (`int`, *optional*, defaults to `32`):
            Prompts between two saves. An interruption loses the work on at most this many prompts.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the confidence intervals.
    """

    num_prompts: int | None = field(
        default=None,
        metadata={
            "help": "Number of prompts to draw, at least 8. The more prompts, the narrower the intervals. If `None`, "
            "all rows of the split, in their order."
        },
    )
    block_size: int = field(
        default=32,
        metadata={"help": "Prompts between two saves. An interruption loses the work on at most this many prompts."},
    )
    confidence: float = field(default=0.95, metadata={"help": "Level of the confidence intervals."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_prompts is not None and self.num_prompts < FEWEST_PROMPTS:
            raise ValueError(
                f"num_prompts={self.num_prompts} is too few for an interval; set at least {FEWEST_PROMPTS}, better "
                "256."
            )
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence={self.confidence} is not between 0 and 1: set a level such as 0.95.")
        if self.dataset_streaming:
            raise ValueError("prompts cannot be drawn from a stream: set dataset_streaming to False.")

    def split_of(self, splits: DatasetDict) -> tuple[str, str]:
        """The split from which prompts are drawn, and the argument that sets it."""
        return self.dataset_test_split, "dataset_test_split"


def load_splits(script_args: PromptArguments) -> DatasetDict:
    """The splits of the dataset: from the hub, a local path, a function by its import path, or reasoning-gym."""
    name = script_args.dataset_name
    if script_args.datasets is not None:
        return _mixture(script_args)
    if not name:
        raise ValueError("dataset_name is not set; set a hub id, a local path or the import path of a function.")
    source, _, tasks = name.partition(":")
    module, _, function = name.rpartition(".")
    if source != _REASONING_GYM and (not module or "/" in name or Path(name).exists()):
        if tasks and "/" not in name and not Path(name).exists():
            raise ValueError(f"dataset_name={name!r} is no hub id; did you mean '{_REASONING_GYM}:{tasks}'?")
        try:
            return load_dataset(name, name=script_args.dataset_config, streaming=script_args.dataset_streaming)
        except (ImportError, OSError, ValueError) as error:
            raise ValueError(f"dataset_name={name!r} cannot be loaded: {error}") from error
    for setting, nothing in {"dataset_config": "", "dataset_streaming": False}.items():
        if value := getattr(script_args, setting):
            raise ValueError(f"{setting} is {value!r}, but {name} is no dataset of the hub: set it to {nothing!r}.")
    if source == _REASONING_GYM:
        block = script_args.reasoning_gym
        return reasoning_gym_splits(tasks or None, chat=False, **(block if isinstance(block, dict) else {}))
    return _made_by(name, module, function)


def _mixture(script_args: PromptArguments) -> DatasetDict:
    """The splits of TRL's mixture of datasets."""
    mixture = DatasetMixtureConfig(
        [DatasetConfig(**each) for each in script_args.datasets or ()],
        script_args.dataset_streaming,
        script_args.test_split_size,
    )
    try:
        return get_dataset(mixture)
    except (ImportError, OSError, ValueError) as error:
        raise ValueError(f"datasets cannot be loaded: {error}") from error


def _made_by(name: str, module: str, function: str) -> DatasetDict:
    """The splits that a function returns."""
    try:
        with importable_working_dir():
            splits = _imported(module, function)()
        if not isinstance(splits, dict):
            raise ValueError(f"the function returns a {type(splits).__name__}, not a DatasetDict.")
    except (ImportError, SyntaxError, OSError, ValueError) as error:
        raise ValueError(f"dataset_name={name!r} cannot be loaded: {error}") from error
    return splits


def _imported(module: str, function: str) -> Callable:
    imported = importlib.import_module(module)
    if not hasattr(imported, function):
        hint = suggestion(function, dir(imported), f"{module}.", otherwise="set a function of it.")
        raise ValueError(f"{module} has no '{function}'; {hint}")
    make = getattr(imported, function)
    if not _takes_nothing(make):
        raise ValueError("it is no function without arguments, such as passk_trl.tasks.quickstart.")
    return make


def _takes_nothing(function: Any) -> bool:
    """Whether it is a function that can be called without arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    return True


def check_split(script_args: ScriptArguments, splits: DatasetDict, split: str, setting: str) -> None:
    """Raises `ValueError`, naming the argument that chose the split, if the dataset does not have it."""
    if split not in splits:
        raise ValueError(
            f"dataset_name={script_args.dataset_name!r} has no split '{split}', only {', '.join(splits)}; set "
            f"{setting}."
        )


def draw_prompts(script_args: DataArguments, seed: int) -> tuple[Dataset, list[int]]:
    """
    The prompts to measure, with the columns `prompt` and `solution`, and their rows in the split.

    Raises:
        `ValueError`: if a split or a column is missing, or the split has too few rows.
    """
    splits = load_splits(script_args)
    split, setting = script_args.split_of(splits)
    check_split(script_args, splits, split, setting)
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
    The dataset with the columns `prompt` and `solution`, built from the columns that the arguments name.

    Raises:
        `ValueError`: if a column is missing, a setting would change nothing, or the dataset is a stream, whose columns
        cannot be changed.
    """
    if isinstance(dataset, IterableDataset):
        changed = [script_args.answer_column, script_args.instruction, script_args.system_prompt]
        if script_args.prompt_column != "prompt" or any(changed):
            raise ValueError("columns of a stream cannot be changed: set dataset_streaming to False.")
        return dataset
    originals = column_of(dataset, "prompt_column", script_args.prompt_column)
    if script_args.instruction is not None and not any(isinstance(original, str) for original in originals):
        raise ValueError("instruction is set, but the prompts are conversations: set system_prompt instead.")
    columns = {"prompt": [_prompt(original, script_args) for original in originals]}
    if script_args.answer_column is not None:
        answers = column_of(dataset, "answer_column", script_args.answer_column)
        if (mark := script_args.answer_after) is not None:
            if not any(mark in answer for answer in answers):
                raise ValueError(f"answer_after is {mark!r}, which is in no answer: set it to a text that is.")
            answers = [answer.rpartition(mark)[2].strip() for answer in answers]
        columns["solution"] = answers
    if columns == {"prompt": originals}:
        return dataset
    kept = [name for name in dataset.column_names if name not in columns]
    return Dataset.from_dict({**{name: dataset[name][:] for name in kept}, **columns})


def checked_rewards(script_args: PromptArguments, data: dict[str, Dataset]) -> list[Callable]:
    """
    The reward functions, once it is checked that each dataset has the columns they read.

    Args:
        script_args ([`PromptArguments`]): names the reward functions.
        data (`dict[str, Dataset]`): datasets by their use, such as `"train"`.

    Raises:
        `ValueError`: if a reward function cannot be loaded, a dataset lacks a column that it reads, or a verifier of
        short answers cannot read the gold answers.
    """
    rewards = load_rewards(script_args.reward_funcs)
    by_name = {getattr(reward, "__name__", repr(reward)): reward for reward in rewards}
    for use, dataset in data.items():
        if dataset.column_names:  # a stream may not know its columns
            check_reward_columns(by_name, dataset, f"{use} prompts")
        if isinstance(dataset, Dataset):
            for reward in rewards:
                check_golds(reward, dataset, f"{use} prompts")
    return rewards


def column_of(dataset: Dataset, setting: str, name: str) -> list:
    """The values of a column. Raises `ValueError`, naming the argument that chose it, if there is none."""
    if name not in dataset.column_names:
        raise ValueError(f"the dataset has no column '{name}', only {dataset.column_names}; set {setting}.")
    return dataset[name][:]


def _prompt(value: Any, script_args: PromptArguments) -> Any:
    """A prompt with instruction and system message, as a conversation unless it is for a base model."""
    if isinstance(value, str):
        value = value if script_args.instruction is None else f"{value}\n{script_args.instruction}"
        if not script_args.chat:
            return value
        value = [{"role": "user", "content": value}]
    if script_args.system_prompt is None:
        return value
    return [{"role": "system", "content": script_args.system_prompt}, *value]
