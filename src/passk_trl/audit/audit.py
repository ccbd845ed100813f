"""Measures the Gram matrix of many prompts, block by block, so that an interrupted audit can continue.

The rollouts of each block of prompts are on disk (`passk_trl.rollouts.blocks`), and the gradients next to them:

    <output_dir>/gradients/<settings>/block-0000.safetensors   whole or sketched gradients of the block's prompts
"""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from trl import GRPOTrainer

from passk_trl import files
from passk_trl.distributed.engine import may_shard
from passk_trl.distributed.ranks import gather_list, gather_rows, num_ranks, on_first_rank
from passk_trl.gradients import Coverage, ScoredRollouts, gradient_rows, gram_of_rows
from passk_trl.gradients.of_trainer import rehearse_on_trained
from passk_trl.gradients.projections import HEAD_DRAWS
from passk_trl.gradients.selection import select
from passk_trl.gradients.store import fit_exactly
from passk_trl.interference import ProbeSample
from passk_trl.rollouts.blocks import Record, RolloutBlocks, digest
from passk_trl.rollouts.progress import block_progress
from passk_trl.rollouts.vision import check_text_parameters

from .parameters import choose_parameters


# Gradients on disk of another version are taken anew: it may have left parameters out.
_VERSION = 2


@dataclass(frozen=True)
class AuditMeasurement:
    """
    The numbers that an audit measured, of the prompts whose rollouts could all be scored.

    Args:
        prompts (`list[int]`): their rows in the dataset.
        num_rollouts (`int`): rollouts of each prompt.
        sample ([`~passk_trl.interference.ProbeSample`]): their Gram matrix and success counts.
        coverage ([`~passk_trl.gradients.Coverage`]): which of the chosen parameters the gradients cover.
        store (`str`): how gradients were stored, `"exact"` or `"sketch"`.
        unscorable (`list[int]`): rows that are left out because a rollout could not be scored.
        not_finite (`list[int]`): rows that are left out because their gradient is not finite.
    """

    prompts: list[int]
    num_rollouts: int
    sample: ProbeSample
    coverage: Coverage
    store: str
    unscorable: list[int]
    not_finite: list[int]


class Audit:
    """
    Measures the Gram matrix of a dataset's prompts under a policy that is not trained.

    With several processes, each holds the whole policy, and all of them create and run the audit together. They share
    the prompts of a block.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Holds the policy, which is not trained. Its generation (transformers or vLLM), chat template, reward
            functions and temperature are used.
        dataset ([`~datasets.Dataset`]):
            The prompts, all of which are measured, with the columns that the reward functions read.
        output_dir (`str` or `Path`):
            Where everything is stored. An audit that was begun there is continued.
        num_rollouts (`int`, *optional*, defaults to `32`):
            Rollouts of each prompt, at least 3.
        parameters (`str`, *optional*, defaults to `"all"`):
            The parameters whose gradients are taken, see [`choose_parameters`].
        gram (`str`, *optional*, defaults to `"auto"`):
            `"exact"` stores whole gradients. `"sketch"` stores random projections of a fixed size, whose error is part
            of the intervals. `"auto"` is `"exact"` if that takes at most 1 GiB for all prompts together.
        block_size (`int`, *optional*, defaults to `32`):
            Prompts in a block. An interruption loses the work on at most one block.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct; rewards must be 0 or 1 if `None`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of rollouts and sketches.
        settings (`dict`, *optional*):
            Whatever else the rollouts depend on, JSON-safe. An audit with other values is not continued.

    Raises:
        `ValueError`: if an argument is out of range, the policy is sharded, the trainer generates in a way that
        cannot be repeated, a column is missing, or `output_dir` holds an audit with other settings.

    Source: Barakat et al. 2026 (arXiv 2602.21189), section 5.
    """

    def __init__(
        self,
        trainer: GRPOTrainer,
        dataset: Dataset,
        output_dir: str | Path,
        num_rollouts: int = 32,
        parameters: str = "all",
        gram: str = "auto",
        block_size: int = 32,
        success_threshold: float | None = None,
        seed: int = 0,
        settings: dict[str, Any] | None = None,
    ):
        if num_rollouts < 3:
            raise ValueError(f"num_rollouts={num_rollouts} measures no k above 1; set at least 3, better 32.")
        if gram not in ("auto", "exact", "sketch"):
            raise ValueError(f"gram={gram!r} is unknown; set 'auto', 'exact' or 'sketch'.")
        self.trainer = trainer
        self.dataset = dataset
        self.directory = Path(output_dir)
        self.num_rollouts = num_rollouts
        self.seed = seed
        self.parameters = choose_parameters(trainer.model, parameters)
        self.sizes = {each.name: each.size for each in select(trainer.model, self.parameters)}
        exact_fits = fit_exactly(len(dataset), sum(self.sizes.values()))
        self.store = gram if gram != "auto" else "exact" if exact_fits else "sketch"
        check_text_parameters(trainer, self.parameters)
        if not may_shard(trainer):  # before hours of rollouts
            rehearse_on_trained(trainer, parameters=self.parameters)
        self.rollouts = RolloutBlocks(
            trainer, dataset, output_dir, num_rollouts, block_size, success_threshold, seed, settings
        )

    def run(self) -> AuditMeasurement | None:
        """Runs the audit, or what is left of it. Returns the measurement on the main process, `None` on others."""
        self.rollouts.sample()
        self._take_gradients()
        return self._measure() if self.trainer.accelerator.is_main_process else None

    # Gradients, block by block.

    def _take_gradients(self) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        settings = json.dumps(self._gradients_settings, indent=2)
        on_first_rank(partial(files.write, self._gradients_folder / "settings.json", settings))
        with (
            _trained_alone(model, self.sizes),
            block_progress(self.trainer, "gradients", len(self.dataset)) as progress,
        ):
            for block, prompts in enumerate(self.rollouts.blocks):
                if not on_first_rank(partial(self._has_gradients, block)):
                    self._gradients_of(block, model, progress.add)
                progress.finish_block(prompts)

    def _gradients_of(self, block: int, model: nn.Module, on_prompts: Callable[[int], None]) -> None:
        """Writes the gradients of a block's prompts, except prompts with none or all correct, whose gradient is 0."""
        records = on_first_rank(lambda: _mixed(self.rollouts.records(block)))
        rows: dict[str, Tensor] = {}
        prompts: list[int] = []
        coverage = None
        if records:
            mine = records[self.trainer.accelerator.process_index :: num_ranks()]
            success = torch.tensor([record["success"] for record in mine]).view(len(mine), self.num_rollouts)
            rollouts = ScoredRollouts(
                [record["prompt_ids"] for record in mine], [record["completion_ids"] for record in mine], success
            )
            gradients = gradient_rows(
                model,
                rollouts,
                pad_token_id=self.trainer._tokenizer.pad_token_id,
                temperature=self.trainer.temperature,
                store=self.store,
                parameters=self.parameters,
                seed=self.seed,
                autocast=self.trainer.accelerator.autocast,
                on_batch=on_prompts,
            )
            coverage = gradients.coverage
            prompts = gather_list([record["prompt"] for record in mine])
            for name, row in gradients.rows.items():
                rows[name] = gather_rows(row).cpu().contiguous()
        on_first_rank(partial(self._save_gradients, block, rows, prompts, coverage))

    def _save_gradients(
        self, block: int, rows: dict[str, Tensor], prompts: list[int], coverage: Coverage | None
    ) -> None:
        metadata = {"prompts": json.dumps(prompts), "rollouts": digest(self.rollouts.path(block).read_bytes())}
        if coverage is not None:
            metadata["coverage"] = json.dumps(asdict(coverage))
        with files.whole(self._gradients_file(block)) as unfinished:
            save_file(rows, unfinished, metadata)

    def _has_gradients(self, block: int) -> bool:
        """Whether the gradients on disk are those of these rollouts."""
        if not self._gradients_file(block).exists():
            return False
        with safe_open(self._gradients_file(block), "pt") as file:
            return file.metadata()["rollouts"] == digest(self.rollouts.path(block).read_bytes())

    @property
    def _gradients_settings(self) -> dict[str, Any]:
        # The projections of a sketch are drawn on the device, and differ between kinds of device.
        device = self.trainer.accelerator.device.type
        settings = {"parameters": self.parameters, "gram": self.store, "seed": self.seed, "device": device}
        of_sketches = {"draws_of_head": HEAD_DRAWS} if self.store == "sketch" else {}
        return {**settings, **of_sketches, "version": _VERSION}

    @property
    def _gradients_folder(self) -> Path:
        return self.directory / "gradients" / digest(json.dumps(self._gradients_settings).encode())

    def _gradients_file(self, block: int) -> Path:
        return self._gradients_folder / f"block-{block:04d}.safetensors"

    # The Gram matrix over all blocks.

    def _measure(self) -> AuditMeasurement:
        success = self.rollouts.success()
        num_correct = {prompt: sum(group) for prompt, group in success.items() if group is not None}
        scored = list(num_correct)
        sample = ProbeSample.of(self._gram_of(scored), list(num_correct.values()), self.num_rollouts)
        finite = sample.finite
        return AuditMeasurement(
            prompts=[scored[i] for i in finite.nonzero().flatten()],
            num_rollouts=self.num_rollouts,
            sample=sample.keep(finite),
            coverage=self._coverage(),
            store=self.store,
            unscorable=[prompt for prompt in success if prompt not in num_correct],
            not_finite=[scored[i] for i in (~finite).nonzero().flatten()],
        )

    def _coverage(self) -> Coverage:
        """What the gradients of every block cover. Everything, if no prompt had a gradient."""
        total = sum(self.sizes.values())
        of_blocks = [Coverage(**each) for each in self._coverages()]
        if not of_blocks:
            return Coverage(total, total)
        left_out = [name for name in self.sizes if any(name in each.left_out for each in of_blocks)]
        covered = total - sum(self.sizes[name] for name in left_out)
        return Coverage(covered, total, tuple(left_out), of_blocks[0].in_graph)

    def _coverages(self) -> Iterator[dict[str, Any]]:
        for block in range(len(self.rollouts.blocks)):
            with safe_open(self._gradients_file(block), "pt") as file:
                if "coverage" in file.metadata():
                    yield json.loads(file.metadata()["coverage"])

    def _gram_of(self, scored: list[int]) -> Tensor:
        """The Gram matrix of the scored prompts, `(M, N, N)`, from the gradients of all blocks."""
        prompts: list[int] = []
        parts: dict[str, list[Tensor]] = {}
        for block in range(len(self.rollouts.blocks)):
            with safe_open(self._gradients_file(block), "pt") as file:
                prompts += json.loads(file.metadata()["prompts"])
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    parts.setdefault(name, []).append(file.get_tensor(name))
        if not prompts:
            return torch.zeros(1, len(scored), len(scored), dtype=torch.float64)
        mixed_MNN = gram_of_rows({name: torch.cat(blocks) for name, blocks in sorted(parts.items())})
        gram_MNN = torch.zeros(len(mixed_MNN), len(scored), len(scored), dtype=torch.float64)
        positions = torch.tensor([scored.index(prompt) for prompt in prompts])
        gram_MNN[:, positions[:, None], positions] = mixed_MNN
        return gram_MNN


@contextmanager
def _trained_alone(model: nn.Module, names: Collection[str]) -> Iterator[None]:
    """Lets autograd keep nothing for other parameters than these, until the block ends."""
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    try:
        yield
    finally:
        for parameter, requires_grad in before.items():
            parameter.requires_grad_(requires_grad)


def _mixed(records: list[Record]) -> list[Record]:
    """The prompts with correct and incorrect rollouts. The others have gradient zero, or none."""
    return [r for r in records if r["success"] is not None and 0 < sum(r["success"]) < len(r["success"])]
