"""The engine of a trainer (none, DDP, FSDP2, ZeRO): what it shards, and how it is left ready for training."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.distributed.fsdp import FSDPModule
from trl.models.utils import add_hooks, remove_hooks

from passk_trl.rollout_trainer import RolloutTrainer


def may_shard(trainer: RolloutTrainer) -> bool:
    """Whether the trainer was launched under FSDP or DeepSpeed."""
    return trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled


def generates_layer_by_layer(trainer: RolloutTrainer) -> bool:
    """Whether a sharded model is gathered layer by layer in generation, and not as a whole before it."""
    return not (_is_zero3(trainer) and trainer.args.ds3_gather_for_generation)


def reset_engine(trainer: RolloutTrainer) -> None:
    """Removes what a pass of ours, complete or not, left in the engine's state, so that training can go on."""
    engine = trainer.model_wrapped
    if _is_zero3(trainer):
        # ZeRO-3 counts a module as in use until the backward pass reaches its input, which our passes need not do. It
        # also fetches parameters ahead in the order of our passes. After either, TRL could not gather the parameters.
        # TRL removes the hooks for a generation, and does not add them again if the generation fails.
        _forget_the_failed_pass(engine)
        engine.optimizer.empty_partition_cache()  # the engine's own method also collects garbage, for 0.3 s
        remove_hooks(engine)
        add_hooks(engine)
    elif isinstance(engine, FSDPModule) and (state := engine._get_fsdp_state())._is_root:  # not before its first pass
        # FSDP2 calls this at the end of a backward pass, but not of one that failed.
        state._root_post_backward_final_callback()


def _forget_the_failed_pass(engine: Any) -> None:
    """Drops what ZeRO-3 keeps on a rank whose pass failed, and not on the others: they would gather differently."""
    for module in engine.module.modules():  # set in a forward pass, in which reading a weight gathers it
        if hasattr(module._parameters, "_in_forward"):
            module._parameters._in_forward = False
    # What to release after each module is cached, also for an order of modules that no longer holds.
    coordinator = engine.optimizer.parameter_offload.get_param_coordinator()
    to_release = type(coordinator)._PartitionedParameterCoordinator__params_to_release
    inspect.getclosurevars(to_release).nonlocals["func"].cache_clear()


@contextmanager
def engine_reset_afterwards(trainer: RolloutTrainer) -> Iterator[None]:
    """Resets the engine at the end, and enables gradient checkpointing again if TRL's generation left it disabled."""
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    checkpointing = model.is_gradient_checkpointing
    try:
        yield
    finally:
        reset_engine(trainer)
        if checkpointing and not model.is_gradient_checkpointing:
            model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)


def _is_zero3(trainer: RolloutTrainer) -> bool:
    plugin = trainer.accelerator.state.deepspeed_plugin
    return plugin is not None and plugin.zero_stage == 3
