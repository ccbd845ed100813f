"""Leaves training as it was: what a probe draws, logs or loads into vLLM is undone when it ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils import is_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import set_seed

from passk_trl.distributed.sharded_parameters import local_part
from passk_trl.random_streams import random_streams_kept, seed_of_rank
from passk_trl.rollout_trainer import RolloutTrainer


@contextmanager
def undisturbed(trainer: RolloutTrainer, seed: int) -> Iterator[None]:
    """
    Runs the block without a trace in training.

    - The block has random streams of its own, with a seed, and others on each rank.
    - What reward functions log in the block is dropped.
    - vLLM gets the weights from training when it would have got them without the block, even if the block has already
      sent them.

    The random stream of a vLLM server is not restored: rollouts in the block advance it.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            The trainer.
        seed (`int`):
            Seed of the block's random streams.
    """
    pending = (trainer._pending_extra_logs, trainer._pending_metrics)
    before = [{key: list(values) for key, values in logs.items()} for logs in pending]
    last_loaded_step = trainer._last_loaded_step if trainer.use_vllm else None
    merged = [(weight, weight.to("cpu", copy=True)) for weight in _weights_merged_for_vllm(trainer)]
    accelerator = trainer.accelerator
    with random_streams_kept(accelerator.device):
        # The ranks that share a colocated vLLM must draw the same tokens.
        group = accelerator.process_index // trainer.args.vllm_tensor_parallel_size
        set_seed(seed_of_rank(seed, group, accelerator.num_processes))
        try:
            yield
        finally:
            for weight, original in merged:
                weight.copy_(original)
            if trainer.use_vllm:
                trainer._last_loaded_step = last_loaded_step
            for logs, content in zip(pending, before, strict=True):
                logs.clear()
                logs.update(content)


def _weights_merged_for_vllm(trainer: RolloutTrainer) -> list[Tensor]:
    """
    This rank's part of the weights that have an adapter. For vLLM, TRL merges the adapters into the weights and takes
    them out again, which rounds the weights.
    """
    if not (trainer.use_vllm and is_peft_model(trainer.model)):
        return []
    layers = [module for module in trainer.model.modules() if isinstance(module, BaseTunerLayer)]
    parameters = [parameter for layer in layers for parameter in layer.get_base_layer().parameters(recurse=False)]
    return [local_part(parameter.detach()) for parameter in parameters]
