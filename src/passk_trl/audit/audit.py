"""Audit of a checkpoint before training: rollouts and gradients of many prompts, kept on disk as they are made.

The rollouts are kept in blocks (`blocks.py`), and the gradients of each block beside them:

    <output_dir>/gradients/<settings>/block-0000.safetensors   whole or sketched gradients of the block's prompts
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
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
from passk_trl.distributed.ranks import gather_list, gather_rows, num_ranks, on_first_rank
from passk_trl.gradients import Coverage, ScoredRollouts, gradient_rows, gram_of_rows
from passk_trl.gradients.layers import find_layers
from passk_trl.gradients.store import fit_exactly
from passk_trl.rollouts.blocks import Record, RolloutBlocks, digest
from passk_trl.rollouts.progress import block_progress

from .parameters import choose_parameters


@dataclass(frozen=True)
class Measurement:
    """
    What an audit measured, N being the prompts whose rollouts could all be scored.

    Args:
        prompts (`list[int]`): which rows of the dataset they are.
        num_rollouts (`int`): n.
        num_correct (`torch.Tensor` of shape `[N]`): correct rollouts of each, int64.
        gram (`torch.Tensor` of shape `[M, N, N]`): M independent estimates of ⟨ĝ_i, ĝ_j⟩, float64.
        coverage ([`~passk_trl.gradients.Coverage`]): which of the chosen parameters they take in.
        store (`str`): `"exact"` or `"sketch"`.
        unscorable (`list[int]`): rows that are left out because a rollout could not be scored.
        not_finite (`list[int]`): rows that are left out because their gradient is not finite.
    """

    prompts: list[int]
    num_rollouts: int
    num_correct: Tensor
    gram: Tensor
    coverage: Coverage
    store: str
    unscorable: list[int]
    not_finite: list[int]


class Audit:
    """
    Measures the Gram matrix of a dataset's prompts under a policy that is not trained.

    Under several processes, each of which holds the whole policy, all of them make and run the audit together; the
    prompts of a block are divided over them.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Holds the policy, and is not trained. Generation (transformers or vLLM), chat template, reward functions
            and temperature are its.
        dataset ([`~datasets.Dataset`]):
            The prompts, all of which are measured, with the columns that the reward functions read.
        output_dir (`str` or `Path`):
            Where everything is kept. An audit that was made there before is taken up.
        num_rollouts (`int`, *optional*, defaults to `32`):
            Rollouts of each prompt, at least 3.
        parameters (`str`, *optional*, defaults to `"all"`):
            Whose gradients are taken, see [`choose_parameters`].
        gram (`str`, *optional*, defaults to `"auto"`):
            `"exact"` keeps whole gradients, `"sketch"` random projections of a fixed size whose error is part of the
            error bars; `"auto"` the first where it takes no more than 1 GiB for all prompts together.
        block_size (`int`, *optional*, defaults to `32`):
            Prompts in a block: what is lost at most when the audit is killed.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct; rewards must be 0 or 1 if `None`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of rollouts and sketches.
        settings (`dict`, *optional*):
            What else the rollouts depend on, JSON-safe: an audit with other values is not taken up.

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
            raise ValueError(f"num_rollouts={num_rollouts} shows no k above 1; set at least 3, better 32.")
        if gram not in ("auto", "exact", "sketch"):
            raise ValueError(f"gram={gram!r} is unknown; set 'auto', 'exact' or 'sketch'.")
        self.trainer = trainer
        self.dataset = dataset
        self.directory = Path(output_dir)
        self.num_rollouts = num_rollouts
        self.seed = seed
        self.parameters = choose_parameters(trainer.model, parameters)
        _, self.coverage = find_layers(trainer.model, self.parameters)
        exact_fits = fit_exactly(len(dataset), self.coverage.covered)
        self.store = gram if gram != "auto" else "exact" if exact_fits else "sketch"
        self.rollouts = RolloutBlocks(
            trainer, dataset, output_dir, num_rollouts, block_size, success_threshold, seed, settings
        )

    def run(self) -> Measurement | None:
        """The [`Measurement`], on the main process; `None` on the others."""
        self.rollouts.sample()
        self._take_gradients()
        return self._measure() if self.trainer.accelerator.is_main_process else None

    # Gradients, block by block.

    def _take_gradients(self) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        layers, _ = find_layers(model, self.parameters)
        measured = {id(getattr(layer.module, own)) for layer in layers for own in layer.parameters}
        for parameter in model.parameters():  # autograd then keeps nothing for what is not measured
            parameter.requires_grad_(id(parameter) in measured)
        settings = json.dumps(self._gradients_settings, indent=2)
        on_first_rank(partial(files.write, self._gradients_folder / "settings.json", settings))
        with block_progress(self.trainer, "gradients", len(self.dataset)) as progress:
            for block, prompts in enumerate(self.rollouts.blocks):
                if not on_first_rank(partial(self._gradients_there, block)):
                    self._gradients_of(block, model, progress.add)
                progress.finish_block(prompts)

    def _gradients_of(self, block: int, model: nn.Module, on_prompts: Callable[[int], None]) -> None:
        """Writes the gradients of a block's prompts, those apart whose rollouts all fared alike: theirs are zero."""
        records = on_first_rank(lambda: _mixed(self.rollouts.records(block)))
        rows: dict[str, Tensor] = {}
        prompts: list[int] = []
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
            prompts = gather_list([record["prompt"] for record in mine])
            for name, kept in gradients.rows.items():
                rows[name] = gather_rows(kept).cpu().contiguous()
        on_first_rank(partial(self._save_gradients, block, rows, prompts))

    def _save_gradients(self, block: int, rows: dict[str, Tensor], prompts: list[int]) -> None:
        metadata = {"prompts": json.dumps(prompts), "rollouts": digest(self.rollouts.path(block).read_bytes())}
        with files.whole(self._gradients_file(block)) as unfinished:
            save_file(rows, unfinished, metadata)

    def _gradients_there(self, block: int) -> bool:
        """Whether the gradients of just these rollouts were taken."""
        if not self._gradients_file(block).exists():
            return False
        with safe_open(self._gradients_file(block), "pt") as file:
            return file.metadata()["rollouts"] == digest(self.rollouts.path(block).read_bytes())

    @property
    def _gradients_settings(self) -> dict[str, Any]:
        # A sketch's projections are drawn on the device, and each kind draws others.
        device = self.trainer.accelerator.device.type
        return {"parameters": self.parameters, "gram": self.store, "seed": self.seed, "device": device}

    @property
    def _gradients_folder(self) -> Path:
        return self.directory / "gradients" / digest(json.dumps(self._gradients_settings).encode())

    def _gradients_file(self, block: int) -> Path:
        return self._gradients_folder / f"block-{block:04d}.safetensors"

    # The Gram matrix over all blocks.

    def _measure(self) -> Measurement:
        success = self.rollouts.success()
        num_correct = {prompt: sum(group) for prompt, group in success.items() if group is not None}
        scored = list(num_correct)
        gram_MNN = self._gram_of(scored)
        finite = gram_MNN.mean(dim=0).diagonal().isfinite()
        kept = finite.nonzero().flatten()
        prompts = [scored[i] for i in kept]
        return Measurement(
            prompts=prompts,
            num_rollouts=self.num_rollouts,
            num_correct=torch.tensor([num_correct[prompt] for prompt in prompts], dtype=torch.int64),
            gram=gram_MNN[:, kept][:, :, kept],
            coverage=self.coverage,
            store=self.store,
            unscorable=[prompt for prompt in success if prompt not in num_correct],
            not_finite=[scored[i] for i in (~finite).nonzero().flatten()],
        )

    def _gram_of(self, scored: list[int]) -> Tensor:
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
        where = torch.tensor([scored.index(prompt) for prompt in prompts])
        gram_MNN[:, where[:, None], where] = mixed_MNN
        return gram_MNN


def _mixed(records: list[Record]) -> list[Record]:
    """Those with correct and incorrect rollouts: the others have gradient zero, or none."""
    return [r for r in records if r["success"] is not None and 0 < sum(r["success"]) < len(r["success"])]
