"""Whether a trainer can be probed: how it generates, and the columns that its reward functions need."""

import inspect
import warnings
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOTrainer


# What TRL passes to every reward function besides the columns of the dataset.
_GIVEN_TO_REWARDS = {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}


def check_can_probe(trainer: GRPOTrainer) -> None:
    """Raises `ValueError` if a rollout of the trainer is more than one completion of a text prompt."""
    if trainer.rollout_func is not None or trainer.tools or trainer.environment_factories is not None:
        raise ValueError(
            "the trainer has a rollout_func, tools or an environment_factory, whose rollouts a probe cannot repeat; "
            "leave them out, or the monitor."
        )
    if trainer._is_vlm:
        raise ValueError("the policy reads images, whose gradients a probe cannot take; train without the monitor.")


def check_columns(trainer: GRPOTrainer, dataset: Dataset) -> None:
    """Raises `ValueError` if a reward function needs a column that the probe prompts do not have."""
    check_reward_columns(dict(zip(trainer.reward_func_names, trainer.reward_funcs, strict=True)), dataset)


def check_reward_columns(functions: dict[str, Any], dataset: Dataset, rows: str = "probe prompts") -> None:
    """
    Args:
        functions (`dict[str, Callable]`):
            Reward functions by name.
        dataset ([`~datasets.Dataset`]):
            What they are to score.
        rows (`str`, *optional*, defaults to `"probe prompts"`):
            What the message calls the rows of the dataset.

    Raises:
        `ValueError`: if a reward function needs a column that the dataset does not have.
    """
    available = _GIVEN_TO_REWARDS | set(dataset.column_names)
    for name, function in functions.items():
        if isinstance(function, torch.nn.Module):
            continue
        needed = {
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }
        if missing := sorted(needed - available):
            raise ValueError(
                f"the reward function '{name}' needs {', '.join(missing)}, which the {rows} lack; their "
                f"columns are {dataset.column_names}: add or rename a column."
            )


def truncated_sampling(trainer: GRPOTrainer) -> list[str]:
    """The settings, such as `"top_p=0.95"`, with which completions are not sampled from the policy itself."""
    neutral = {"top_p": (1.0,), "top_k": (0, -1, None), "min_p": (0.0, None), "repetition_penalty": (1.0,)}
    chosen = {name: getattr(trainer, name) for name in neutral} | (trainer.args.generation_kwargs or {})
    return [f"{name}={chosen[name]}" for name, values in neutral.items() if chosen[name] not in values]


def warn_if_truncated(trainer: GRPOTrainer) -> None:
    """Warns if completions are not sampled from the policy whose gradients are taken."""
    if truncating := truncated_sampling(trainer):
        warnings.warn(
            f"{', '.join(truncating)}: completions are sampled from a truncated policy, but the gradients are those "
            "of the whole policy, so the estimates of conflict are biased; set top_p=1, top_k=0, min_p=None and "
            "repetition_penalty=1 for unbiased estimates.",
            stacklevel=3,
        )
