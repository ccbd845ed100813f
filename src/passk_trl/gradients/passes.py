"""Takes all prompts through the model in batches, which are halved when memory runs out."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from accelerate.utils.memory import clear_device_cache

from passk_trl.distributed.ranks import failing_together, largest
from passk_trl.distributed.roll_call import RollCall

from .options import GradientOptions
from .scored_rollouts import PaddedBatch, ScoredRollouts, longest_first, no_rollouts, padded


TOKENS_AT_A_TIME = 2**13
"""About how many tokens a forward pass takes where `batch_size` is not given."""


def take_passes(
    add_gradients: Callable[[PaddedBatch], None],
    forget: Callable[[list[int]], None],
    rollouts: ScoredRollouts,
    roll_call: RollCall,
    device: torch.device,
    options: GradientOptions,
    one_prompt_a_pass: bool,
) -> None:
    """
    Calls `add_gradients` with batches that together hold all prompts that have a gradient, or one prompt if none has.
    When memory runs out, the batch size is halved, and at one prompt the prompt's different rollouts are divided into
    2, 4, 8 … parts, each of which takes a pass.

    Ranks that share a sharded model take each pass together: a finished rank runs an empty batch, so that collectives
    match. Otherwise each rank runs its own passes, at least one, and waits for the others at the end.

    Args:
        add_gradients (`Callable`):
            Takes a batch through the model and adds the gradients of its prompts.
        forget (`Callable`):
            Takes back what was added for the prompts given.
        rollouts ([`ScoredRollouts`]):
            This rank's prompts.
        roll_call ([`~passk_trl.distributed.roll_call.RollCall`]):
            Of the model.
        device (`torch.device`):
            Where the batches go.
        options ([`GradientOptions`]):
            Of which `pad_token_id`, `batch_size`, `on_batch` and `reset_engine` are read.
        one_prompt_a_pass (`bool`):
            Whether each batch may hold one prompt only.

    Raises:
        `torch.OutOfMemoryError`: on all ranks, if memory runs out on one for parts of a single rollout.
    """
    sharded = roll_call.is_needed
    each_pass, all_passes = (failing_together, nullcontext) if sharded else (nullcontext, failing_together)
    batch_size = 1 if one_prompt_a_pass else _batch_size(rollouts, device, options.batch_size)
    pending = _to_be_taken(rollouts)
    left = largest(len(pending), device)
    most_rollouts = largest(max(map(len, rollouts.distinct), default=1), device)
    parts = 1  # of each prompt's rollouts
    with all_passes():
        if options.on_batch is not None and len(pending) < rollouts.num_prompts:
            options.on_batch(rollouts.num_prompts - len(pending))
        while left > 0:
            prompts = pending[:batch_size]
            try:
                for part in range(parts):
                    with each_pass(), roll_call.taken():
                        if prompts and part < most_rollouts:
                            which = slice(part, None, parts)
                            add_gradients(padded(rollouts, prompts, options.pad_token_id, device, which))
                        else:
                            add_gradients(no_rollouts(options.pad_token_id, device))
            except torch.OutOfMemoryError:
                if batch_size == 1 and parts >= most_rollouts:
                    raise
                forget(prompts)
                options.reset_engine()
                clear_device_cache()
                batch_size, parts = (batch_size // 2, parts) if batch_size > 1 else (1, 2 * parts)
                continue
            pending = pending[batch_size:]
            left = largest(len(pending), device) if sharded else len(pending)
            if options.on_batch is not None:
                options.on_batch(len(prompts))


def _to_be_taken(rollouts: ScoredRollouts) -> list[int]:
    """The prompts to take, in order. If none has a gradient, the smallest, so that what was formed is known."""
    in_order, have_a_gradient = longest_first(rollouts), rollouts.have_a_gradient()
    return [i for i in in_order if have_a_gradient[i]] or in_order[-1:]


def _batch_size(rollouts: ScoredRollouts, device: torch.device, chosen: int | None) -> int:
    """Prompts in a forward pass, the same on all ranks."""
    if chosen is not None:
        return chosen
    longest = max(map(rollouts.length, range(rollouts.num_prompts)), default=1)
    most_rows = max(map(len, rollouts.distinct), default=1)  # a batch is padded to both
    allowed = max(1, TOKENS_AT_A_TIME // (longest * most_rows))
    return -largest(-allowed, device)  # the smallest of all ranks
