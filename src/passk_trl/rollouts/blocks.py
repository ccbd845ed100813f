"""Rollouts of many prompts, kept on disk as they are made.

The work goes in blocks of prompts. What a block cost is written to a file of its own, complete or not at all, so that
what is killed goes on where it was: a block's random draws depend on the block, not on what ran before it.

    <directory>/settings.json                what the rollouts depend on
    <directory>/rollouts/block-0000.jsonl    a prompt a line: tokens and success of its rollouts
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from tqdm.auto import tqdm
from trl import GRPOTrainer

from passk_trl import files
from passk_trl.distributed.engine import may_shard
from passk_trl.distributed.ranks import gather_list, num_ranks, on_first_rank
from passk_trl.private_names import check_private_names

from .checks import check_columns, check_probable
from .sampling import sample_rollouts
from .undisturbed import undisturbed


__all__ = ["Record", "RolloutBlocks", "digest", "progress"]

# What one prompt's rollouts are, in a line of a block's file; "success" is None where one could not be scored.
Record = dict[str, Any]


class RolloutBlocks:
    """
    Rollouts of all prompts of a dataset, from a policy that is not trained.

    Under several processes, each of which holds the whole policy, all of them make and sample the blocks together; the
    prompts of a block are divided over them, and the first process alone reads and writes files.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Holds the policy, and is not trained. Generation (transformers or vLLM), chat template, reward functions
            and temperature are its.
        dataset ([`~datasets.Dataset`]):
            The prompts, with the columns that the reward functions read.
        directory (`str` or `Path`):
            Where everything is kept. Rollouts that were made there before are taken up.
        num_rollouts (`int`):
            Rollouts of each prompt.
        block_size (`int`, *optional*, defaults to `32`):
            Prompts in a block: what is lost at most in a kill.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct; rewards must be 0 or 1 if `None`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the rollouts.
        settings (`dict`, *optional*):
            What else the rollouts depend on, JSON-safe: those made with other values are not taken up.

    Raises:
        `ValueError`: if an argument is out of range, the policy is sharded, the trainer generates in a way that
        cannot be repeated, a column is missing, or `directory` holds rollouts made with other settings.
    """

    def __init__(
        self,
        trainer: GRPOTrainer,
        dataset: Dataset,
        directory: str | Path,
        num_rollouts: int,
        block_size: int = 32,
        success_threshold: float | None = None,
        seed: int = 0,
        settings: dict[str, Any] | None = None,
    ):
        if block_size < 1:
            raise ValueError(f"block_size={block_size} is no number of prompts; set at least 1.")
        if may_shard(trainer):
            raise ValueError(
                "the policy would be sharded, which cannot be done without training; launch plain processes, each of "
                "which holds the whole policy (accelerate launch --multi_gpu)."
            )
        check_private_names(trainer)
        check_probable(trainer)
        check_columns(trainer, dataset)
        self.trainer = trainer
        self.dataset = dataset
        self.directory = Path(directory)
        self.num_rollouts = num_rollouts
        self.success_threshold = success_threshold
        self.seed = seed
        rows = list(range(len(dataset)))
        self.blocks = [rows[first : first + block_size] for first in range(0, len(rows), block_size)]
        self.settings = {
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
        on_first_rank(self._take_up_settings)

    def sample(self) -> None:
        """Samples the blocks that are not there yet."""
        with progress(self.trainer, "rollouts", len(self.dataset)) as done:
            for block, prompts in enumerate(self.blocks):
                if not on_first_rank(self.path(block).exists):
                    records = self._records_of(block, prompts, done.some)
                    on_first_rank(partial(_write_lines, self.path(block), records))
                done.block(prompts)

    def path(self, block: int) -> Path:
        """The file of a block."""
        return self.directory / "rollouts" / f"block-{block:04d}.jsonl"

    def records(self, block: int) -> list[Record]:
        """A block's prompts, in their order. On the first process, which alone is sure to see the file."""
        return [json.loads(line) for line in self.path(block).read_text().splitlines()]

    def success(self) -> dict[int, list[int] | None]:
        """Success of each prompt's rollouts, 0 or 1; `None` if one could not be scored. On the first process."""
        records = [record for block in range(len(self.blocks)) for record in self.records(block)]
        return {record["prompt"]: record["success"] for record in records}

    def _records_of(self, block: int, prompts: list[int], on_prompts: Callable[[int], None]) -> list[Record]:
        """A block's records on all ranks, in the order of its prompts."""
        # The stride keeps the seeds of one block's ranks from being those of the next block.
        with undisturbed(self.trainer, (self.seed * 1_000_003 + block * 10_007) % 2**31):
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

    def _take_up_settings(self) -> None:
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


@contextmanager
def progress(trainer: GRPOTrainer, what: str, num_prompts: int) -> Iterator["_Progress"]:
    """A bar over all prompts, on the first process."""
    quiet = trainer.args.disable_tqdm or not trainer.accelerator.is_main_process
    with tqdm(desc=what, total=num_prompts, unit="prompt", disable=quiet) as bar:
        yield _Progress(bar)


class _Progress:
    """A bar over all prompts, whose estimate counts only the blocks that are worked on, not those found done."""

    def __init__(self, bar: tqdm):
        self._bar = bar
        self._done = 0
        self._started = False

    def some(self, prompts: int) -> None:
        """This rank has done so many prompts more of the block that is worked on; the others likely as many."""
        if not self._started:
            self._started = True
            self._bar.initial = self._bar.n
        self._bar.update(min(prompts * num_ranks(), self._bar.total - self._bar.n))

    def block(self, prompts: list[int]) -> None:
        """A block is done."""
        self._done += len(prompts)
        self._bar.n = self._done
        self._bar.refresh()


def digest(content: bytes) -> str:
    """Tells contents apart."""
    return hashlib.sha256(content).hexdigest()[:12]


def _digest_of_weights(model: nn.Module) -> str:
    """Tells a checkpoint from another of the same name, by the first few numbers of each parameter."""
    heads = [parameter.detach().flatten()[:16].float().cpu() for parameter in model.parameters()]
    return digest(torch.cat(heads).numpy().tobytes())


def _write_lines(path: Path, records: list[Record]) -> None:
    files.write(path, "".join(json.dumps(record) + "\n" for record in records))
