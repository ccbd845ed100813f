"""The engine that holds the model for training, given back as it was found, also by a probe that was broken off."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed.fsdp import FSDPModule
from trl import GRPOTrainer
from trl.models.utils import add_hooks, remove_hooks


def put_to_rest(trainer: GRPOTrainer) -> None:
    """Ends a pass through the model, complete or not, in the engine's books."""
    engine = trainer.model_wrapped
    if trainer._dist.is_zero3:
        # A module counts as in use until the backward pass leaves it at its input, which ours need not reach, and
        # parameters are fetched ahead in the order of our passes: TRL could gather neither. TRL takes the hooks off
        # for a generation and leaves them off if that fails.
        engine.optimizer.empty_partition_cache()  # the engine's own collects garbage too, for a third of a second
        remove_hooks(engine)
        add_hooks(engine)
    elif isinstance(engine, FSDPModule) and (state := engine._get_fsdp_state())._is_root:  # once it ran
        # What FSDP2 does at the end of a backward pass, and does not if that fails.
        state._root_post_backward_final_callback()


@contextmanager
def at_rest_afterwards(trainer: GRPOTrainer) -> Iterator[None]:
    """Puts the engine to rest in the end, and gradient checkpointing on again if TRL's generation left it off."""
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    checkpointing = model.is_gradient_checkpointing
    try:
        yield
    finally:
        put_to_rest(trainer)
        if checkpointing and not model.is_gradient_checkpointing:
            model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)
