"""Scored rollouts from a trainer: sampled for probe prompts, or those its training batch has already.

Everything goes through the trainer's own generation and reward functions, and nothing of it is left behind in them.
"""

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from trl import GRPOTrainer, is_conversational
from trl.chat_template_utils import parse_response

from passk_trl.distributed.engine import engine_reset_afterwards, generates_layer_by_layer
from passk_trl.distributed.ranks import failing_together, num_ranks
from passk_trl.distributed.roll_call import RollCall
from passk_trl.gradients import ScoredRollouts

from .scoring import _rewards_that_raise_late, _score, success_of


def sample_rollouts(
    trainer: GRPOTrainer,
    dataset: Dataset,
    rows: list[int],
    num_rollouts: int,
    success_threshold: float | None,
    on_prompts: Callable[[int], None],
) -> tuple[ScoredRollouts, list[int]]:
    """
    Rollouts of rows of a dataset, divided over the ranks.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Its generation backend and its reward functions are used.
        dataset ([`~datasets.Dataset`]):
            Probe prompts, with the columns that the reward functions read.
        rows (`list[int]`):
            Rows of the dataset, the same on all ranks.
        num_rollouts (`int`):
            Rollouts of each row.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct; rewards must be 0 or 1 if `None`.
        on_prompts (`Callable[[int], None]`):
            Called with the number of prompts rolled out, after each batch.

    Returns:
        [`ScoredRollouts`] and `list[int]`: this rank's share, and the rows they are. A row is left out if one of its
        rollouts could not be scored.

    Raises:
        `Exception`: on all ranks, if generation or a reward function failed on one.
    """
    mine = rows[trainer.accelerator.process_index :: num_ranks()]
    share = -(-len(rows) // num_ranks())
    # Generation and rewards take as many prompts from every rank: those that have one less fill up with any.
    inputs = [dataset[row] for row in (mine + rows)[:share] for _ in range(num_rollouts)]
    prompt_ids, completion_ids = _generate(trainer, inputs, num_rollouts, on_prompts)
    with failing_together():
        completions = _decode(trainer, inputs, prompt_ids, completion_ids)
    with failing_together(), _rewards_that_raise_late(trainer):
        rewards = _score(trainer, inputs, completions, completion_ids, _fitting(trainer, num_rollouts))
    groups = [completion_ids[first : first + num_rollouts] for first in range(0, len(inputs), num_rollouts)]
    with failing_together():
        rewards_NGF = rewards.view(share, num_rollouts, -1)
        success_NG = success_of(trainer, rewards_NGF[: len(mine)], success_threshold)
    kept = (~success_NG.isnan().any(dim=1)).nonzero().flatten().tolist()
    prompt_ids = prompt_ids[::num_rollouts]
    rollouts = ScoredRollouts([prompt_ids[i] for i in kept], [groups[i] for i in kept], success_NG[kept])
    return rollouts, [mine[i] for i in kept]


def _fitting(trainer: GRPOTrainer, num_rollouts: int) -> int:
    """Rollouts of whole prompts that fit where training's do."""
    return num_rollouts * max(1, trainer.args.generation_batch_size // num_ranks() // num_rollouts)


def _generate(
    trainer: GRPOTrainer, inputs: list[dict[str, Any]], num_rollouts: int, on_prompts: Callable[[int], None]
) -> tuple[list[list[int]], list[list[int]]]:
    """
    Prompt ids and completion ids of inputs that repeat each prompt for its rollouts, in batches that are halved on all
    ranks when memory runs out on one. A vLLM does its own batching and gets all at once.
    """
    prompt_ids: list[list[int]] = []
    completion_ids: list[list[int]] = []
    at_once = len(inputs) if trainer.use_vllm else _fitting(trainer, num_rollouts)
    roll_call = RollCall(trainer.accelerator.unwrap_model(trainer.model_wrapped))
    each_layer = generates_layer_by_layer(trainer)
    while len(prompt_ids) < len(inputs):
        batch = inputs[len(prompt_ids) : len(prompt_ids) + at_once]
        try:
            with failing_together():
                ids, images, fields = trainer._tokenize_prompts([row["prompt"] for row in batch])
            with failing_together(), engine_reset_afterwards(trainer), roll_call.taken(each_layer):
                completions, _ = trainer._generate_single_turn(ids, images, fields, num_generations=num_rollouts)
        except torch.OutOfMemoryError:
            if at_once == num_rollouts:
                raise
            at_once = num_rollouts * (at_once // num_rollouts // 2)
            clear_device_cache()
            continue
        prompt_ids += ids
        completion_ids += completions
        on_prompts(len(batch) // num_rollouts)
    return prompt_ids, completion_ids


def _decode(
    trainer: GRPOTrainer, inputs: list[dict[str, Any]], prompt_ids: list[list[int]], completion_ids: list[list[int]]
) -> list:
    """Completions as the reward functions of a training step see them."""
    tokenizer = trainer._tokenizer
    if not is_conversational({"prompt": inputs[0]["prompt"]}):
        return trainer.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
    if getattr(tokenizer, "response_template", None) or getattr(tokenizer, "response_schema", None):
        return [
            [parse_response(tokenizer, ids, prefix=prefix)]
            for ids, prefix in zip(completion_ids, prompt_ids, strict=True)
        ]
    contents = trainer.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
    return [[{"role": "assistant", "content": content}] for content in contents]
