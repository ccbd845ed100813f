"""Whether the loss of a trainer is one whose gradient can be told apart by rollouts."""

from typing import Any

from accelerate.utils import DynamoBackend
from trl import GRPOTrainer, RLOOTrainer

from passk_trl.rollout_trainer import RolloutTrainer
from passk_trl.rollouts.checks import check_division


def check_can_ride(trainer: Any) -> None:
    """
    Raises `ValueError` if the gradient of the trainer's loss is more than a sum of the rollouts' scores, each times
    one number.
    """
    if not isinstance(trainer, RolloutTrainer):
        raise ValueError(
            f"the trainer is a {type(trainer).__name__}, and ride=True needs a GRPOTrainer or an RLOOTrainer; set "
            "ride to False."
        )
    check_division(trainer)
    config = trainer.model.config
    if trainer.accelerator.is_fsdp2 and hasattr(config, "vision_config") and not config.tie_word_embeddings:
        raise ValueError(
            "the policy reads images and its LM head is not tied, and under FSDP2 a ride was seen to change how that "
            "head trains; train with ZeRO or DDP, or set ride to False."
        )
    refused = _refused_of_all(trainer)
    if not isinstance(trainer, RLOOTrainer):  # whose KL term is in the reward, and which has none of the others
        refused |= _refused_of_grpo(trainer)
    for name, (is_on, value, needed, why) in refused.items():
        if is_on:
            raise ValueError(f"{name} is {value}, and with ride=True {why}; set it to {needed}, or ride to False.")
    if trainer.aux_loss_enabled:
        raise ValueError(
            "the model's load-balancing loss adds a gradient of its own, which ride=True cannot tell apart; set "
            "router_aux_loss_coef to 0.0, or ride to False."
        )
    if isinstance(trainer, GRPOTrainer):
        _check_correction(trainer)


# Setting → whether it is on, its value, what is needed instead, and why.
_Refused = dict[str, tuple[bool, Any, Any, str]]


def _refused_of_all(trainer: RolloutTrainer) -> _Refused:
    args = trainer.args
    return {
        "mask_truncated_completions": (
            args.mask_truncated_completions,
            True,
            False,
            "nothing of truncated completions is left in the batch",
        ),
        "torch_compile": (_is_compiled(trainer), True, False, "hooks do not see a compiled graph"),
        "steps_per_generation": (
            args.gradient_accumulation_steps % args.steps_per_generation != 0,
            args.steps_per_generation,
            args.gradient_accumulation_steps,
            "a part of a generation is off-policy",
        ),
    }


def _refused_of_grpo(trainer: GRPOTrainer) -> _Refused:
    args, of_entropy = trainer.args, "the entropy bonus adds a gradient of its own"
    return {
        "beta": (args.beta != 0, args.beta, 0.0, "the KL term adds a gradient of its own"),
        "use_adaptive_entropy": (args.use_adaptive_entropy, True, False, of_entropy),
        "entropy_coef": (trainer._entropy_bonus_enabled, args.entropy_coef, 0.0, of_entropy),
        "top_entropy_quantile": (
            args.top_entropy_quantile < 1,
            args.top_entropy_quantile,
            1.0,
            "only a part of each rollout's tokens is trained on",
        ),
        "off_policy_mask_threshold": (
            args.off_policy_mask_threshold is not None,
            args.off_policy_mask_threshold,
            None,
            "rollouts are left out of the loss",
        ),
    }


def _check_correction(trainer: GRPOTrainer) -> None:
    args = trainer.args
    is_corrected = trainer.use_vllm and args.vllm_importance_sampling_correction
    if is_corrected and args.vllm_importance_sampling_mode.startswith("token"):
        raise ValueError(
            f"vllm_importance_sampling_mode is {args.vllm_importance_sampling_mode!r}, which weighs tokens one by "
            "one; with ride=True set it to 'sequence_mask', vllm_importance_sampling_correction to False, or ride to "
            "False."
        )


def _is_compiled(trainer: Any) -> bool:
    """Whether the trainer or accelerate's own configuration compiles the model."""
    plugin = trainer.accelerator.state.dynamo_plugin
    return trainer.args.torch_compile or (plugin is not None and plugin.backend != DynamoBackend.NO)
