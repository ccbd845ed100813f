"""
All names that this package uses although a library may move them in any release: private attributes, and names of
modules that the library does not document. They are looked up when a trainer is built, so that a missing one is
reported then and by name, and not by an AttributeError in the middle of a run.
"""

import dis
import inspect
import pkgutil
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .rollout_trainer import RolloutTrainer

# The tests run with these.
KNOWN_TO_WORK = {
    "trl": "1.16.0",
    "transformers": "5.23.0",
    "accelerate": "1.15.0",
    "peft": "0.21.2",
    "torch": "2.13.0",
    "deepspeed": "0.19.8",
}

# When a name is used → the class or module that has it → names. A name of a class is an attribute of the class itself,
# one that it declares, or one that its methods set, on their instance or on another object.
PRIVATE_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "always": {
        "trl.GRPOTrainer": (
            "_calculate_rewards",
            "_generate_and_score_completions",
            "_generate_single_turn",
            "_logs",
            "_metrics",
            "_name",
            "_paper",
            "_pending_extra_logs",
            "_pending_metrics",
            "_tag_names",
            "_tokenize_prompts",
            "_tokenizer",
        ),
        "trl.scripts.utils": ("DatasetConfig",),
        "trl.chat_template_utils": ("parse_response",),
        "trl.models.utils": ("add_hooks", "remove_hooks"),
        "trl.trainer.utils": ("is_async_callable", "split_pixel_values_by_grid", "unsplit_pixel_values_by_grid"),
        "transformers.Trainer": ("_init_training_state",),
        "transformers.GenerationMixin": ("_has_unfinished_sequences",),
        "transformers.integrations.TrackioCallback": ("_initialized", "_trackio"),
        "transformers.integrations.WandbCallback": ("_initialized", "_wandb"),
        "transformers.integrations.moe": ("ALL_EXPERTS_FUNCTIONS", "_grouped_linear"),
        "transformers.modeling_layers": ("GradientCheckpointingLayer",),
        "transformers.models.mixtral.modeling_mixtral.MixtralExperts": ("_apply_gate",),
        "transformers.pytorch_utils": ("Conv1D",),
        "transformers.trainer_callback": ("ExportableState",),
        "transformers.trainer_utils": ("EvalLoopOutput", "has_length"),
        "accelerate.utils.memory": ("clear_device_cache",),
        "peft.tuners.tuners_utils": ("BaseTunerLayer",),
        "torch.Tensor": ("_backward_hooks", "_version"),
        "torch.utils._pytree": ("tree_leaves",),
    },
    "RLOO": {
        "trl.RLOOTrainer": (
            "_calculate_rewards",
            "_generate_and_score_completions",
            "_generate_single_turn",
            "_metrics",
            "_pending_extra_logs",
            "_pending_metrics",
            "_tokenize_prompts",
            "_tokenizer",
        ),
    },
    "riding": {
        "trl.GRPOTrainer": ("_compute_loss", "_entropy_bonus_enabled", "_get_per_token_logps_and_entropies"),
        "trl.RLOOTrainer": ("_compute_loss", "_get_per_token_logps_and_entropies"),
    },
    "vllm": {"trl.GRPOTrainer": ("_last_loaded_step",), "trl.RLOOTrainer": ("_last_loaded_step",)},
    "fsdp": {
        "torch.distributed.fsdp.FSDPModule": ("_get_fsdp_state",),
        "torch.distributed.fsdp._fully_shard._fsdp_state.FSDPState": (
            "_is_root",
            "_root_post_backward_final_callback",
        ),
    },
    "deepspeed": {
        "deepspeed.zero.Init": ("all_gather", "all_gather_coalesced", "ds_id", "ds_numel", "ds_shape", "ds_tensor"),
        "deepspeed.runtime.zero.stage3.DeepSpeedZeroOptimizer_Stage3": ("empty_partition_cache",),
        "deepspeed.runtime.zero.parameter_offload.ZeROOrderedDict": ("_in_forward",),
        "deepspeed.runtime.zero.partitioned_param_coordinator.PartitionedParameterCoordinator": (
            "_PartitionedParameterCoordinator__params_to_release",
        ),
        "deepspeed.utils": ("get_z3_leaf_modules",),
        "torch.nn.Module": ("_backward_hooks", "_parameters"),
    },
    "command line": {
        "argparse.ArgumentParser": ("_actions", "_optionals"),
        "argparse._ArgumentGroup": ("_group_actions",),
    },
}


def check_private_names(trainer: "RolloutTrainer") -> None:
    """
    Looks up the names that are used with this trainer.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            Whose kind, vLLM and engine decide which names are used.

    Raises:
        `ImportError`: if an installed library lacks one of them.
    """
    from trl import RLOOTrainer  # not above: names are also looked up to explain why TRL could not be imported

    used = {
        "RLOO": isinstance(trainer, RLOOTrainer),
        "vllm": trainer.use_vllm,
        "fsdp": trainer.is_fsdp_enabled,
        "deepspeed": trainer.is_deepspeed_enabled,
    }
    look_up("always", *(group for group, is_used in used.items() if is_used))


def look_up(*groups: str) -> None:
    """
    Looks up the names of these groups of [`PRIVATE_NAMES`].

    Raises:
        `ImportError`: if an installed library lacks one of them; it tells the name and the versions known to work.
    """
    missing = [
        f"{_version_of(owner)} has no {lacking}"
        for group in groups
        for owner, names in PRIVATE_NAMES[group].items()
        for lacking in _missing(owner, names)
    ]
    if missing:
        known = ", ".join(f"{library} {number}" for library, number in KNOWN_TO_WORK.items())
        raise ImportError(f"{', '.join(missing)}, which passk-trl uses; install versions known to work: {known}.")


def _missing(owner: str, names: tuple[str, ...]) -> list[str]:
    """The owner, if it is not there, else those of its names that are not."""
    try:
        found: Any = pkgutil.resolve_name(owner)
    except (ImportError, AttributeError):
        return [owner]
    prefix = found.__name__
    return [f"{prefix}.{name}" for name in names if not (hasattr(found, name) or _is_set_by(found, name))]


def _is_set_by(owner: Any, name: str) -> bool:
    """Whether a class declares an attribute of this name, or a method of it assigns one, on whatever object."""
    bases = owner.__mro__ if inspect.isclass(owner) else ()
    if any(name in inspect.get_annotations(base) for base in bases):
        return True
    members = (member for base in bases for member in vars(base).values())
    functions = (inspect.unwrap(member) for member in members if inspect.isroutine(member))
    return any(
        instruction.opname == "STORE_ATTR" and instruction.argval == name
        for function in functions
        if inspect.isfunction(function) and name in function.__code__.co_names  # reading the instructions is slow
        for instruction in dis.get_instructions(function)
    )


def _version_of(owner: str) -> str:
    library = owner.partition(".")[0]
    return f"Python {platform.python_version()}" if library == "argparse" else f"{library} {version(library)}"
