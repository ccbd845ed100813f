"""Rollouts of many prompts, kept on disk as they are made.

The prompts are divided into blocks. Each block has a file of its own, which is written whole or not at all, so that a
run that was killed goes on where it was. A block's random draws depend on the block, not on what ran before it.

    <directory>/settings.json                what the rollouts depend on
    <directory>/rollouts/block-0000.jsonl    a prompt a line: tokens and success of its rollouts
"""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn

from passk_trl import files
from passk_trl.distributed.engine import may_shard
from passk_trl.distributed.ranks import gather_list, on_first_rank
from passk_trl.private_names import check_private_names
from passk_trl.rollout_trainer import RolloutTrainer
from passk_trl.withheld import settings_without_secrets

from .checks import check_can_probe, check_columns
from .progress import block_progress
from .sampling import sample_rollouts
from .undisturbed import undisturbed
from .vision import check_text_prompts


__all__ = ["Record", "RolloutBlocks", "digest"]

# One prompt's rollouts, a line of a block's file; "success" is None where a rollout could not be scored.
Record = dict[str, Any]


class RolloutBlocks:
    """
    Rollouts of all prompts of a dataset, from a policy that is not trained.

    With several processes, each holds the whole policy, and all of them make this object and sample together. The
    prompts of a block are divided over the processes. Only the first process reads and writes files.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            Holds the policy, which is not trained. Its generation (transformers or vLLM), chat template, reward
            functions and temperature are used.
        dataset ([`~datasets.Dataset`]):
            The prompts, with the columns that the reward functions read.
        directory (`str` or `Path`):
            Where everything is kept. Rollouts that are there already are used.
        num_rollouts (`int`):
            Rollouts of each prompt.
        block_size (`int`, *optional*, defaults to `32`):
            Prompts in a block. If the process is killed, at most one block of rollouts is lost.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct; rewards must be 0 or 1 if `None`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the rollouts.
        settings (`dict`, *optional*):
            What else the rollouts depend on, JSON-safe. Rollouts that were made with other values are refused.

    Raises:
        `ValueError`: if an argument is out of range, the policy is sharded, the trainer generates in a way that
        cannot be repeated, a column is missing, or `directory` holds rollouts made with other settings.
    """

    def __init__(
        self,
        trainer: RolloutTrainer,
        dataset: Dataset,
        directory: str | Path,
        num_rollouts: int,
        block_size: int = 32,
        success_threshold: float | None = None,
        seed: int = 0,
        settings: dict[str, Any] | None = None,
    ):
        if block_size < 1:
            raise ValueError(f"block_size={block_size} is not a number of prompts; set at least 1.")
        if may_shard(trainer):
            raise ValueError(
                "the policy would be sharded, which is not possible without training; launch plain processes, each of "
                "which holds the whole policy (accelerate launch --multi_gpu)."
            )
        check_can_probe(trainer)
        check_private_names(trainer)
        check_text_prompts(trainer, dataset)
        check_columns(trainer, dataset)
        self.trainer = trainer
        self.dataset = dataset
        self.directory = Path(directory)
        self.num_rollouts = num_rollouts
        self.success_threshold = success_threshold
        self.seed = seed
        rows = list(range(len(dataset)))
        self.blocks = [rows[first : first + block_size] for first in range(0, len(rows), block_size)]
        self.settings = settings_without_secrets(
            {
                **(settings or {}),
                "block_size": block_size,
                "num_rollouts": num_rollouts,
                "seed": seed,
                "success_threshold": success_threshold,
                "temperature": trainer.temperature,
                "top_p": trainer.top_p,
                "top_k": trainer.top_k,
                "min_p": trainer.min_p,
                "repetition_penalty": trainer.repetition_penalty,
                "max_completion_length": trainer.max_completion_length,
                "generation_kwargs": trainer.args.generation_kwargs,
                "chat_template_kwargs": trainer.args.chat_template_kwargs,
                "use_vllm": trainer.use_vllm,
                "reward_funcs": trainer.reward_func_names,
                "reward_weights": trainer.reward_weights.tolist(),
                "prompts": digest(json.dumps(dataset.to_list(), default=str).encode()),
                "weights": _digest_of_weights(trainer.model),
            }
        )
        on_first_rank(self._check_settings)

    def sample(self) -> None:
        """Samples the blocks that are not there yet."""
        with block_progress(self.trainer, "rollouts", len(self.dataset)) as progress:
            for block, prompts in enumerate(self.blocks):
                if not on_first_rank(self.path(block).exists):
                    records = self._records_of(block, prompts, progress.add)
                    on_first_rank(partial(_write_lines, self.path(block), records))
                progress.finish_block(prompts)

    def path(self, block: int) -> Path:
        """The file of a block."""
        return self.directory / "rollouts" / f"block-{block:04d}.jsonl"

    def records(self, block: int) -> list[Record]:
        """A block's prompts, in their order. For the first process only: another node may not see the file."""
        return [json.loads(line) for line in self.path(block).read_text().splitlines()]

    def success(self) -> dict[int, list[int] | None]:
        """Success of each prompt's rollouts, 0 or 1; `None` if one could not be scored. For the first process only."""
        records = [record for block in range(len(self.blocks)) for record in self.records(block)]
        return {record["prompt"]: record["success"] for record in records}

    def _records_of(self, block: int, prompts: list[int], on_prompts: Callable[[int], None]) -> list[Record]:
        """A block's records on all ranks, in the order of its prompts."""
        with undisturbed(self.trainer, (self.seed * 1_000_003 + block) % 2**31):
            rollouts, scored = sample_rollouts(
                self.trainer, self.dataset, prompts, self.num_rollouts, self.success_threshold, on_prompts
            )
        mine = [
            {"prompt": prompt, "success": success, "prompt_ids": prompt_ids, "completion_ids": completion_ids}
            for prompt, success, prompt_ids, completion_ids in zip(
                *(scored, rollouts.success_NG.int().tolist(), rollouts.prompt_ids, rollouts.completion_ids),
                strict=True,
            )
        ]
        by_prompt = {record["prompt"]: record for record in gather_list(mine)}
        return [by_prompt.get(prompt, {"prompt": prompt, "success": None}) for prompt in prompts]

    def _check_settings(self) -> None:
        """Writes the settings, or checks that they are those of the rollouts that are there already."""
        path = self.directory / "settings.json"
        settings = json.loads(json.dumps(self.settings))  # as they come back from the file
        if not path.exists():
            files.write(path, json.dumps(settings, indent=2))
            return
        earlier = json.loads(path.read_text())
        for key in sorted({*earlier, *settings}):
            if earlier.get(key) != settings.get(key):
                raise ValueError(
                    f"{self.directory} holds rollouts made with {key}={earlier.get(key)!r}, not {settings.get(key)!r};"
                    f" set {key} as it was, or another output_dir."
                )


def digest(content: bytes) -> str:
    """A short name of a content. Different contents get different names."""
    return hashlib.sha256(content).hexdigest()[:12]


def _digest_of_weights(model: nn.Module) -> str:
    """A digest of the first few numbers of each parameter. It differs between checkpoints of the same name."""
    heads = [parameter.detach().flatten()[:16].float().cpu() for parameter in model.parameters()]
    return digest(torch.cat(heads).numpy().tobytes())


def _write_lines(path: Path, records: list[Record]) -> None:
    files.write(path, "".join(json.dumps(record) + "\n" for record in records))
