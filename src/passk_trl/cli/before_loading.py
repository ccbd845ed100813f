"""What libraries would find wrong in a recipe only after the model is loaded, or after the first evaluation."""

import difflib
import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from huggingface_hub import HfApi
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig, Trainer, get_scheduler
from transformers.integrations import get_available_reporting_integrations
from trl import ModelConfig

from passk_trl import ConflictMonitor, PassKGRPOConfig
from passk_trl.memory import measured_by
from passk_trl.rollouts.metrics import reported_ks

from .dry_run import on_meta


logger = logging.getLogger(__name__)

_PREFIX = "eval_"
# What a trainer logs of every evaluation, besides the rewards of each reward function and pass@k.
_EVALUATED = ("loss", "reward", "reward_std", "frac_reward_zero_std", "entropy", "kl", "runtime", "num_tokens")


def check_installed(training_args: PassKGRPOConfig) -> None:
    """Raises `ValueError` if a setting needs a package that is not installed."""
    missing = set(training_args.report_to) - {*get_available_reporting_integrations(), "flyte"}
    for tracker in sorted(missing):
        raise ValueError(
            f"report_to names {tracker!r}, which is no tracker that is installed here: install it, or set report_to "
            "to none."
        )
    needed = {"use_vllm": ("vllm", "'passk-trl[vllm]'"), "use_liger_kernel": ("liger_kernel", "liger-kernel")}
    for setting, (package, name) in needed.items():
        if getattr(training_args, setting) and find_spec(package) is None:
            raise ValueError(
                f"{setting} is True, but {package} is not installed: pip install {name}, or set it to False."
            )


def check_hub(training_args: PassKGRPOConfig) -> None:
    """Raises `ValueError` if a model is to be pushed to a hub that does not answer, or not to this user."""
    if not training_args.push_to_hub:
        return
    try:
        HfApi(token=training_args.hub_token).whoami()
    except Exception as error:  # of the network, in classes of whichever library reaches it
        raise ValueError(
            f"push_to_hub is True, but the hub cannot be used: {error}; log in, or set it to False."
        ) from error


def check_training(training_args: PassKGRPOConfig) -> None:
    """
    Raises `ValueError` if no step would be trained, activations cannot be checkpointed as asked, or optimizer and
    schedule cannot be made. Both are made, for a parameter of one number.
    """
    if training_args.max_steps == 0 or (training_args.max_steps < 0 and training_args.num_train_epochs <= 0):
        raise ValueError(
            f"max_steps={training_args.max_steps} with num_train_epochs={training_args.num_train_epochs} trains "
            "nothing; set one of them to more than 0."
        )
    known = signature(checkpoint).parameters.keys() - {"function", "args", "kwargs"}
    if unknown := sorted(set(training_args.gradient_checkpointing_kwargs or ()) - known):
        raise ValueError(
            f"gradient_checkpointing_kwargs has {unknown[0]!r}; the known ones are {', '.join(sorted(known))}."
        )
    _check_optimizer(training_args)


def _check_optimizer(training_args: PassKGRPOConfig) -> None:
    try:
        kind, arguments = Trainer.get_optimizer_cls_and_kwargs(training_args)
        parameter = torch.nn.Parameter(torch.zeros(1))
        # Some of others work on a GPU alone, or on matrices.
        optimizer = kind([parameter], **arguments) if kind.__module__.startswith("torch.") else None
    except (ImportError, TypeError, ValueError) as error:
        if training_args.optim_target_modules is not None:
            return  # such an optimizer must see the model
        raise ValueError(f"optim={_text(training_args.optim)!r} cannot be made: {error}") from error
    optimizer = optimizer or torch.optim.SGD([parameter])
    try:
        get_scheduler(
            training_args.lr_scheduler_type,
            optimizer,
            num_warmup_steps=1,
            num_training_steps=9,
            scheduler_specific_kwargs=training_args.lr_scheduler_kwargs,
        )
    except (TypeError, ValueError) as error:
        name = _text(training_args.lr_scheduler_type)
        raise ValueError(f"lr_scheduler_type={name!r} cannot be made: {error}; set lr_scheduler_kwargs.") from error


def check_rewards(training_args: PassKGRPOConfig, reward_funcs: Sequence[Callable]) -> None:
    """Raises `ValueError` if weights do not fit the reward functions, or the metric of the best model is misspelt."""
    weights = training_args.reward_weights
    if weights is not None and len(weights) != len(reward_funcs):
        raise ValueError(
            f"reward_weights has {len(weights)} numbers for {len(reward_funcs)} reward_funcs: set as many."
        )
    metric = training_args.metric_for_best_model
    if metric is None or training_args.eval_strategy == "no":
        return
    metric = metric.removeprefix(_PREFIX)
    known = _evaluated(training_args, reward_funcs)
    close = difflib.get_close_matches(metric, known, n=1, cutoff=0.85)  # a reward function may log others
    if metric in known:
        return
    if close or metric.startswith(("passk/", "rewards/")):
        hint = f"did you mean {_PREFIX + close[0]!r}?" if close else f"set one of {', '.join(known)}."
        raise ValueError(f"metric_for_best_model={training_args.metric_for_best_model!r} is not logged; {hint}")
    logger.warning(
        "metric_for_best_model=%r is logged only if a reward function logs it. If none does, the first evaluation "
        "ends the run. Else set one of %s.",
        training_args.metric_for_best_model,
        ", ".join(known),
    )


def check_parameters(
    config: PretrainedConfig,
    training_args: PassKGRPOConfig,
    model_args: ModelConfig,
    monitor: ConflictMonitor | None,
) -> None:
    """Raises `ValueError` if adapters or a monitor name parameters that the model does not have."""
    if not model_args.use_peft and (monitor is None or monitor.settings.parameters == "all"):
        return
    try:
        model = on_meta(config, training_args, model_args)
    except ValueError as error:
        if "Unrecognized configuration class" in str(error):  # TRL loads models with images by another class
            return
        raise
    if monitor is not None:
        measured_by(monitor, model)


def _text(setting: Any) -> str:
    """A setting as it is written: transformers makes members of an enumeration of some."""
    return str(getattr(setting, "value", setting))


def _evaluated(training_args: PassKGRPOConfig, reward_funcs: Sequence[Callable]) -> list[str]:
    """The names of the metrics of an evaluation, without their prefix."""
    rollouts = training_args.num_generations_eval or training_args.num_generations
    ks = reported_ks(rollouts, training_args.pass_at_k)
    rewards = [getattr(reward, "__name__", "reward") for reward in reward_funcs]
    lengths = [f"{kind}_{part}length" for part in ("", "terminated_") for kind in ("mean", "min", "max")]
    return [
        *(f"passk/{kind}{k}" for kind in ("pass@", "max@") for k in ks),
        *(f"passk/pass^{k}" for k in ks if k > 1),
        *(f"rewards/{name}/{part}" for name in rewards for part in ("mean", "std")),
        *(f"completions/{name}" for name in [*lengths, "clipped_ratio"]),
        *_EVALUATED,
    ]
