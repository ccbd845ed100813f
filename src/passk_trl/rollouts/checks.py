"""Whether a trainer can be probed: its kind, its rollouts, its engine, and the columns that its rewards need."""

import inspect
import warnings
from typing import Any

import torch
from accelerate import Accelerator, ParallelismConfig
from accelerate.utils import DeepSpeedPlugin, DistributedType
from datasets import Dataset
from trl import RLOOTrainer

from passk_trl.rollout_trainer import RolloutTrainer


# What TRL passes to every reward function besides the columns of the dataset.
_GIVEN_TO_REWARDS = {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}


def check_can_probe(trainer: Any) -> None:
    """Raises `ValueError` if a trainer cannot be probed, by its kind, its rollouts, or how its policy is divided."""
    _check_kind(trainer)
    _check_rollouts(trainer)
    check_division(trainer)


def check_division(trainer: RolloutTrainer) -> None:
    """Raises `ValueError` if the policy is divided over ranks so that its gradients cannot be told apart."""
    _check_fsdp(trainer)
    _check_parallelism(trainer)


def _check_kind(trainer: Any) -> None:
    if not isinstance(trainer, RolloutTrainer):
        raise ValueError(
            f"the trainer is a {type(trainer).__name__}, and a probe needs the generation and rewards of a "
            "GRPOTrainer or an RLOOTrainer; give one of these two, or a subclass of one."
        )


def _check_rollouts(trainer: RolloutTrainer) -> None:
    """A rollout must be one completion of a prompt, as all of an RLOOTrainer are."""
    if isinstance(trainer, RLOOTrainer):
        return
    if trainer.rollout_func is not None or trainer.tools or trainer.environment_factories is not None:
        raise ValueError(
            "the trainer has a rollout_func, tools or an environment_factory, whose rollouts a probe cannot repeat; "
            "leave them out, or measure with ConflictMonitor(ride=True)."
        )


def _check_fsdp(trainer: RolloutTrainer) -> None:
    if trainer.accelerator.distributed_type == DistributedType.FSDP and not trainer.accelerator.is_fsdp2:
        raise ValueError(
            "the trainer runs under FSDP1, which flattens the parameters, so that they cannot be told apart; set "
            "fsdp_version: 2 in the FSDP configuration."
        )


def _check_parallelism(trainer: RolloutTrainer) -> None:
    """Each rank must have prompts of its own, whole."""
    for kind, size in _parallel_sizes(trainer.accelerator).items():
        if size > 1:
            raise ValueError(
                f"the trainer runs with {kind} parallelism over {size} ranks, which the monitor cannot follow; set "
                "its size to 1, and divide the policy by FSDP2 or ZeRO."
            )


def _parallel_sizes(accelerator: Accelerator) -> dict[str, int]:
    sizes = accelerator.parallelism_config or ParallelismConfig()
    return {
        "tensor": max(sizes.tp_size, _tensor_parallel_size_of_deepspeed(accelerator.state.deepspeed_plugin)),
        "context": sizes.cp_size,
        "sequence": sizes.sp_size,
    }


def _tensor_parallel_size_of_deepspeed(plugin: DeepSpeedPlugin | None) -> int:
    return plugin.deepspeed_config.get("tensor_parallel", {}).get("autotp_size", 1) if plugin else 1


def check_columns(trainer: RolloutTrainer, dataset: Dataset) -> None:
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

    A function may have a `check_before_training(column_names)` of its own, which raises `ValueError`.

    Raises:
        `ValueError`: if a reward function needs a column that the dataset does not have.
    """
    available = _GIVEN_TO_REWARDS | set(dataset.column_names)
    for name, function in functions.items():
        if isinstance(function, torch.nn.Module):
            continue
        if hasattr(function, "check_before_training"):
            function.check_before_training(dataset.column_names)
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


def truncated_sampling(trainer: RolloutTrainer) -> list[str]:
    """The settings, such as `"top_p=0.95"`, with which completions are not sampled from the policy itself."""
    neutral = {"top_p": (1.0,), "top_k": (0, -1, None), "min_p": (0.0, None), "repetition_penalty": (1.0,)}
    chosen = {name: getattr(trainer, name) for name in neutral} | (trainer.args.generation_kwargs or {})
    return [f"{name}={chosen[name]}" for name, values in neutral.items() if chosen[name] not in values]


def warn_if_truncated(trainer: RolloutTrainer) -> None:
    """Warns if completions are not sampled from the policy whose gradients are taken."""
    if truncating := truncated_sampling(trainer):
        warnings.warn(
            f"{', '.join(truncating)}: completions are sampled from a truncated policy, but the gradients are those "
            "of the whole policy, so the estimates of conflict are biased; set top_p=1, top_k=0, min_p=None and "
            "repetition_penalty=1 for unbiased estimates.",
            stacklevel=3,
        )
