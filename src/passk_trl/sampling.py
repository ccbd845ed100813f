"""Scored rollouts from a trainer: sampled for probe prompts, or those its training batch has already.

Everything goes through the trainer's own generation and reward functions, and nothing of it is left behind in them.
"""

import inspect
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch
from accelerate.utils import is_peft_model
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import set_seed
from trl import GRPOTrainer
from trl.chat_template_utils import parse_response
from trl.data_utils import is_conversational
from trl.trainer.utils import is_async_callable

from .engine import at_rest_afterwards
from .gradients import ScoredRollouts
from .gradients.ranks import failing_together, gather_list, num_ranks
from .gradients.roll_call import RollCall
from .outcomes import are_binary, combine_rewards


# What TRL passes to every reward function besides the columns of the dataset.
_GIVEN_TO_REWARDS = {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}


@contextmanager
def undisturbed(trainer: GRPOTrainer, seed: int) -> Iterator[None]:
    """
    Random streams of its own for what happens inside, and nothing left of what reward functions log in it. A vLLM that
    got the weights inside gets them again from training, when it would have without.

    A vLLM server has a random stream of its own, which rollouts inside do advance.
    """
    python, numpy = random.getstate(), np.random.get_state()
    device = trainer.accelerator.device
    pending = (trainer._pending_extra_logs, trainer._pending_metrics)
    before = [{key: list(values) for key, values in logs.items()} for logs in pending]
    last_loaded_step = trainer._last_loaded_step if trainer.use_vllm else None
    merged = [(weight, weight.to("cpu", copy=True)) for weight in _weights_merged_for_vllm(trainer)]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # The ranks that share a colocated vLLM must draw the same tokens.
        set_seed(seed + trainer.accelerator.process_index // trainer.args.vllm_tensor_parallel_size)
        try:
            yield
        finally:
            for weight, original in merged:
                weight.copy_(original)
            if trainer.use_vllm:
                trainer._last_loaded_step = last_loaded_step
            random.setstate(python)
            np.random.set_state(numpy)
            for logs, content in zip(pending, before, strict=True):
                logs.clear()
                logs.update(content)


def _weights_merged_for_vllm(trainer: GRPOTrainer) -> list[Tensor]:
    """This rank's part of the weights that TRL merges adapters into for vLLM, and out of again, which rounds them."""
    if not (trainer.use_vllm and is_peft_model(trainer.model)):
        return []
    layers = [module for module in trainer.model.modules() if isinstance(module, BaseTunerLayer)]
    weights = [
        parameter.detach() for layer in layers for parameter in layer.get_base_layer().parameters(recurse=False)
    ]
    return [weight.to_local() if isinstance(weight, DTensor) else weight for weight in weights]


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


class TrainingBatch:
    """
    Remembers the latest rollouts that a trainer generated for training, with their rewards, before they are shuffled.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            The trainer, whose generation is listened to from now on.
    """

    def __init__(self, trainer: GRPOTrainer):
        self._trainer = trainer
        self._batch: dict[str, Any] | None = None
        self._rewards: Tensor | None = None
        self._scored: Tensor | None = None  # by whoever scored last, another monitor's probe maybe
        generate, score = trainer._generate_and_score_completions, trainer._calculate_rewards

        @wraps(score)
        def heard_score(*args: Any, **kwargs: Any) -> Tensor:
            self._scored = score(*args, **kwargs)
            return self._scored

        @wraps(generate)
        def heard_generate(inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch = generate(inputs)
            if trainer.model.training:
                self._batch, self._rewards = batch, self._scored
            return batch

        trainer._calculate_rewards = heard_score
        trainer._generate_and_score_completions = heard_generate

    def rollouts(
        self, num_prompts: int, seed: int, success_threshold: float | None
    ) -> tuple[ScoredRollouts, list[int]]:
        """
        This rank's share of `num_prompts` of its groups, chosen by the seed, and the groups they are.

        Raises:
            `ValueError`: if nothing was generated yet, or rewards are neither 0 nor 1 and no threshold is set.
        """
        if self._batch is None or self._rewards is None:
            raise ValueError(
                "no training batch was generated yet; give a probe_dataset to probe before the first step."
            )
        rewards_PGF = self._rewards.view(-1, self._trainer.num_generations, self._rewards.size(1)).cpu()
        success_PG = success_of(self._trainer, rewards_PGF, success_threshold)
        scored = (~success_PG.isnan().any(dim=1)).nonzero().flatten().tolist()
        order = torch.randperm(len(scored), generator=torch.Generator().manual_seed(seed)).tolist()
        return batch_rollouts(self._trainer, self._batch, success_PG, [scored[i] for i in order[:num_prompts]])


def batch_rollouts(
    trainer: GRPOTrainer, batch: dict[str, Any], success_PG: Tensor, groups: list[int]
) -> tuple[ScoredRollouts, list[int]]:
    """This rank's share of these groups of a training batch, whose rows the ranks have between them; and which."""
    n = success_PG.size(1)
    prompts = gather_list(_unpadded(batch["prompt_ids"], batch["prompt_mask"]))[::n]
    completions = gather_list(_unpadded(batch["completion_ids"], batch["completion_mask"]))
    mine = groups[trainer.accelerator.process_index :: num_ranks()]
    completions_of = [completions[i * n : (i + 1) * n] for i in mine]
    return ScoredRollouts([prompts[i] for i in mine], completions_of, success_PG[mine]), mine


def success_of(trainer: GRPOTrainer, rewards_NGF: Tensor, threshold: float | None) -> Tensor:
    """
    Success of rollouts, `(N, G)`: 0, 1, or NaN where unscorable.

    Raises:
        `ValueError`: if rewards are neither 0 nor 1 and no threshold is set, here or in the trainer's config.
    """
    if threshold is None:
        threshold = getattr(trainer.args, "success_threshold", None)
    rewards_NG = combine_rewards(rewards_NGF, trainer.reward_weights, threshold)
    if not are_binary(rewards_NG):
        other = next(
            reward for reward in rewards_NG.flatten().tolist() if reward not in (0.0, 1.0) and reward == reward
        )
        raise ValueError(
            f"a probe rollout has reward {other:g}, neither 0 nor 1; set success_threshold to the reward from which a "
            "completion counts as correct."
        )
    return rewards_NG


def _unpadded(ids: Tensor, mask: Tensor) -> list[list[int]]:
    return [row[kept.bool()].tolist() for row, kept in zip(ids.cpu(), mask.cpu(), strict=True)]


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
    each_layer = not (trainer._dist.is_zero3 and trainer.args.ds3_gather_for_generation)
    while len(prompt_ids) < len(inputs):
        batch = inputs[len(prompt_ids) : len(prompt_ids) + at_once]
        try:
            with failing_together():
                ids, images, fields = trainer._tokenize_prompts([row["prompt"] for row in batch])
            with failing_together(), at_rest_afterwards(trainer), roll_call.taken(each_layer):
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


def _score(
    trainer: GRPOTrainer,
    inputs: list[dict[str, Any]],
    completions: list,
    completion_ids: list[list[int]],
    at_once: int,
) -> Tensor:
    """Rewards of this rank's inputs, `(B, functions)`, on the CPU."""
    rewards = []
    for start in range(0, len(inputs), at_once):
        part = slice(start, start + at_once)
        prompts = [row["prompt"] for row in inputs[part]]
        gathered = trainer._calculate_rewards(inputs[part], prompts, completions[part], completion_ids[part])
        first = trainer.accelerator.process_index * len(prompts)
        rewards.append(gathered[first : first + len(prompts)].cpu())
    return torch.cat(rewards)


@contextmanager
def _rewards_that_raise_late(trainer: GRPOTrainer) -> Iterator[None]:
    """TRL gathers the rewards of all ranks: one that raised before would leave the others waiting."""
    failures: list[Exception] = []
    functions = trainer.reward_funcs

    def noting(function: Any) -> Any:
        if isinstance(function, torch.nn.Module):
            return function
        if is_async_callable(function):

            async def noted_async(**kwargs: Any) -> list:
                try:
                    return _as_many(await function(**kwargs), kwargs["completions"])
                except Exception as error:
                    failures.append(error)
                    return [None] * len(kwargs["completions"])

            return noted_async

        def noted(**kwargs: Any) -> list:
            try:
                return _as_many(function(**kwargs), kwargs["completions"])
            except Exception as error:
                failures.append(error)
                return [None] * len(kwargs["completions"])

        return noted

    trainer.reward_funcs = [noting(function) for function in functions]
    try:
        yield
    finally:
        trainer.reward_funcs = functions
    if failures:
        raise failures[0]


def _as_many(rewards: list, completions: list) -> list[float | None]:
    if len(rewards) != len(completions):
        raise ValueError(f"a reward function returned {len(rewards)} rewards for {len(completions)} completions.")
    return [None if reward is None else float(reward) for reward in rewards]


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


def check_probable(trainer: GRPOTrainer) -> None:
    """Raises `ValueError` if the trainer's rollouts are more than one completion of a prompt."""
    if trainer.rollout_func is not None or trainer.tools or trainer.environment_factories is not None:
        raise ValueError(
            "the trainer has a rollout_func, tools or an environment_factory, whose rollouts a probe cannot repeat; "
            "leave them out, or the monitor."
        )
    if trainer._is_vlm:
        raise ValueError("the policy reads images, whose gradients a probe cannot take; train without the monitor.")


def check_columns(trainer: GRPOTrainer, dataset: Dataset) -> None:
    """Raises `ValueError` if a reward function needs a column that the probe prompts lack."""
    check_reward_columns(dict(zip(trainer.reward_func_names, trainer.reward_funcs, strict=True)), dataset)


def check_reward_columns(functions: dict[str, Any], dataset: Dataset, of: str = "probe prompts") -> None:
    """Raises `ValueError` if one of the reward functions, by their names, needs a column that the dataset lacks."""
    available = _GIVEN_TO_REWARDS | set(dataset.column_names)
    for name, function in functions.items():
        if isinstance(function, torch.nn.Module):
            continue
        needed = {
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }
        if missing := sorted(needed - available):
            raise ValueError(
                f"the reward function '{name}' needs {', '.join(missing)}, which the {of} lack; their "
                f"columns are {dataset.column_names}: add or rename a column."
            )


def truncated_sampling(trainer: GRPOTrainer) -> list[str]:
    """The settings, such as `"top_p=0.95"`, by which completions are not sampled from the policy itself."""
    harmless = {"top_p": (1.0,), "top_k": (0, -1, None), "min_p": (0.0, None), "repetition_penalty": (1.0,)}
    chosen = {name: getattr(trainer, name) for name in harmless} | (trainer.args.generation_kwargs or {})
    return [f"{name}={chosen[name]}" for name, values in harmless.items() if chosen[name] not in values]


def warn_if_truncated(trainer: GRPOTrainer) -> None:
    """Warns if completions are not sampled from the policy whose gradient is taken."""
    if truncating := truncated_sampling(trainer):
        warnings.warn(
            f"{', '.join(truncating)}: completions are sampled from a truncated policy, but the gradients taken are "
            "those of the whole one, so the estimates of conflict are biased; set top_p=1, top_k=0, min_p=None and "
            "repetition_penalty=1 for unbiased ones.",
            stacklevel=3,
        )
