"""Rollouts of chosen prompts, sampled by the trainer's own generation and scored by its own reward functions."""

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from trl import RLOOTrainer, is_conversational
from trl.chat_template_utils import parse_response

from passk_trl.distributed.engine import engine_reset_afterwards, generates_layer_by_layer
from passk_trl.distributed.ranks import failing_together, num_ranks
from passk_trl.distributed.roll_call import RollCall
from passk_trl.gradients import ScoredRollouts
from passk_trl.rollout_trainer import RolloutTrainer

from .scoring import score_completions, trainer_success


def sample_rollouts(
    trainer: RolloutTrainer,
    dataset: Dataset,
    rows: list[int],
    num_rollouts: int,
    success_threshold: float | None,
    on_prompts: Callable[[int], None],
) -> tuple[ScoredRollouts, list[int]]:
    """
    Scored rollouts of rows of a dataset. The rows are divided over the ranks.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            Generates and scores the rollouts.
        dataset ([`~datasets.Dataset`]):
            Probe prompts, with the columns that the reward functions read.
        rows (`list[int]`):
            Rows of the dataset, the same on all ranks.
        num_rollouts (`int`):
            Rollouts of each row.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct; rewards must be 0 or 1 if `None`.
        on_prompts (`Callable[[int], None]`):
            Called after each batch, with the number of prompts that it had.

    Returns:
        [`ScoredRollouts`] and `list[int]`: this rank's rollouts, and their rows. A row is left out if one of its
        rollouts could not be scored.

    Raises:
        `Exception`: on all ranks, if generation or a reward function failed on one.
    """
    mine = rows[trainer.accelerator.process_index :: num_ranks()]
    share = -(-len(rows) // num_ranks())
    # Generation and rewards take equally many prompts from every rank. A rank that has one less repeats another one.
    inputs = [dataset[row] for row in (mine + rows)[:share] for _ in range(num_rollouts)]
    prompt_ids, completion_ids = _generate(trainer, inputs, num_rollouts, on_prompts)
    with failing_together():
        completions = _decode(trainer, inputs, prompt_ids, completion_ids)
    with failing_together():
        at_once = _rollouts_at_once(trainer, num_rollouts)
        rewards = score_completions(trainer, inputs, completions, completion_ids, at_once)
    groups = [completion_ids[first : first + num_rollouts] for first in range(0, len(inputs), num_rollouts)]
    with failing_together():
        rewards_NGF = rewards.view(share, num_rollouts, -1)
        success_NG = trainer_success(trainer, rewards_NGF[: len(mine)], success_threshold)
    scored = (~success_NG.isnan().any(dim=1)).nonzero().flatten().tolist()
    prompt_ids = prompt_ids[::num_rollouts]
    rollouts = ScoredRollouts([prompt_ids[i] for i in scored], [groups[i] for i in scored], success_NG[scored])
    return rollouts, [mine[i] for i in scored]


def _rollouts_at_once(trainer: RolloutTrainer, num_rollouts: int) -> int:
    """Rollouts of whole prompts, about as many as training generates at once."""
    return num_rollouts * max(1, trainer.args.generation_batch_size // num_ranks() // num_rollouts)


def _generate(
    trainer: RolloutTrainer, inputs: list[dict[str, Any]], num_rollouts: int, on_prompts: Callable[[int], None]
) -> tuple[list[list[int]], list[list[int]]]:
    """
    Prompt ids and completion ids of inputs, which repeat each prompt once for each rollout.

    Batches are halved on all ranks when memory runs out on one. vLLM gets all inputs and makes its own batches.
    """
    prompt_ids: list[list[int]] = []
    completion_ids: list[list[int]] = []
    at_once = len(inputs) if trainer.use_vllm else _rollouts_at_once(trainer, num_rollouts)
    roll_call = RollCall(trainer.accelerator.unwrap_model(trainer.model_wrapped))
    each_layer = generates_layer_by_layer(trainer)
    while len(prompt_ids) < len(inputs):
        batch = inputs[len(prompt_ids) : len(prompt_ids) + at_once]
        try:
            with failing_together():
                ids, images, fields = trainer._tokenize_prompts([row["prompt"] for row in batch])
            with failing_together(), engine_reset_afterwards(trainer), roll_call.taken(each_layer):
                completions = _complete(trainer, ids, images, fields, num_rollouts)
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


def _complete(
    trainer: RolloutTrainer, prompt_ids: list[list[int]], images: Any, fields: dict[str, Any], num_rollouts: int
) -> list[list[int]]:
    """A completion of each of the prompts, of which `num_rollouts` in a row are the same one."""
    if not isinstance(trainer, RLOOTrainer):
        completions, _ = trainer._generate_single_turn(prompt_ids, images, fields, num_generations=num_rollouts)
        return completions
    # It takes the number of a prompt's completions from its own attributes, for training or for evaluation.
    before = trainer.num_generations, trainer.num_generations_eval
    trainer.num_generations = trainer.num_generations_eval = num_rollouts
    try:
        return trainer._generate_single_turn(prompt_ids, images, fields)
    finally:
        trainer.num_generations, trainer.num_generations_eval = before


def _decode(
    trainer: RolloutTrainer, inputs: list[dict[str, Any]], prompt_ids: list[list[int]], completion_ids: list[list[int]]
) -> list:
    """Completions in the form that reward functions get in a training step."""
    tokenizer = trainer._tokenizer
    if not is_conversational({"prompt": inputs[0]["prompt"]}):
        return trainer.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
    has_responses = getattr(tokenizer, "response_template", None) or getattr(tokenizer, "response_schema", None)
    if has_responses and not isinstance(trainer, RLOOTrainer):  # which does not parse them
        return [
            [parse_response(tokenizer, ids, prefix=prefix)]
            for ids, prefix in zip(completion_ids, prompt_ids, strict=True)
        ]
    contents = trainer.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
    return [[{"role": "assistant", "content": content}] for content in contents]
